//! What every plot and the page must hold, whatever they look like.

mod files;
mod page;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use roxmltree::{Document, Node, ParsingOptions};

use super::fixture::{PATHS, run};
use super::*;
use crate::stats::{Cell, Figure, Selector, absolute, hop_cost, paired};
use crate::{Family, Measure, Path as Way, Reach};

const PLACES: [&str; 4] = [
    "same_node_v4",
    "same_node_v6",
    "two_nodes_v4",
    "two_nodes_v6",
];
const MEASURES: [&str; 4] = ["udp_packet", "tcp_request", "tcp_connect", "tcp_bulk"];

/// The crafted run and its plots, made once.
static RUN: LazyLock<(Results, Vec<Plot>)> = LazyLock::new(|| {
    let results = run();
    let plots = plots(&results);
    (results, plots)
});

fn svg(name: &str) -> &'static str {
    &RUN.1.iter().find(|plot| plot.name == name).unwrap().svg
}

fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).unwrap()
}

fn texts(document: &Document<'_>) -> Vec<String> {
    let elements = document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("text"));
    elements
        .filter_map(|node| node.text().map(str::to_owned))
        .collect()
}

fn title<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.children()
        .find(|child| child.has_tag_name_or_svg("title"))
        .and_then(|child| child.text())
}

fn number(node: Node<'_, '_>, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

/// Names with or without SVG's namespace: the page's own elements have none.
trait Named {
    fn has_tag_name_or_svg(&self, name: &str) -> bool;
}

impl Named for Node<'_, '_> {
    fn has_tag_name_or_svg(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

/// Title and width of each bar.
fn bars_of(svg: &str) -> BTreeMap<String, f64> {
    let document = parsed(svg);
    document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("rect"))
        .filter_map(|node| {
            Some((
                title(node)?.split(": ").next()?.to_owned(),
                number(node, "width"),
            ))
        })
        .collect()
}

/// Points of each curve with its name; the legend's samples have two and are not among them.
fn curves_of(svg: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
    let document = parsed(svg);
    document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("polyline"))
        .map(|node| {
            let pairs = node.attribute("points").unwrap().split(' ');
            let points = pairs.map(|pair| {
                let (x, y) = pair.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            });
            (title(node).unwrap().to_owned(), points.collect::<Vec<_>>())
        })
        .filter(|(_, points)| points.len() > 2)
        .collect()
}

#[test]
fn every_plot_is_there_once() {
    let mut expected: Vec<_> = PLACES
        .iter()
        .flat_map(|place| [format!("latency_{place}"), format!("rules_{place}")])
        .chain(
            MEASURES
                .iter()
                .flat_map(|name| [(*name).to_owned(), format!("cpu_{name}")]),
        )
        .chain(["hop_cost".to_owned()])
        .collect();
    expected.sort();
    let mut names: Vec<_> = RUN.1.iter().map(|plot| plot.name.clone()).collect();
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn every_number_in_a_plot_is_finite_and_inside() {
    for Plot { name, svg, .. } in &RUN.1 {
        let document = parsed(svg);
        let root = document.root_element();
        let size = (number(root, "width"), number(root, "height"));
        for node in document.descendants().filter(|node| node.is_element()) {
            for (attribute, limit) in [
                ("x", size.0),
                ("x1", size.0),
                ("x2", size.0),
                ("cx", size.0),
                ("y", size.1),
            ]
            .into_iter()
            .chain([("y1", size.1), ("y2", size.1), ("cy", size.1)])
            {
                if node.attribute(attribute).is_some() {
                    let value = number(node, attribute);
                    assert!(
                        (0.0..=limit).contains(&value),
                        "{name}: {attribute} {value}"
                    );
                }
            }
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

#[test]
fn every_path_that_was_measured_is_named() {
    for (path, _) in PATHS
        .into_iter()
        .filter(|(path, _)| *path != Way::NftFlowtable)
    {
        let label = path.to_string();
        for name in ["udp_packet", "cpu_tcp_bulk", "latency_two_nodes_v6"] {
            let texts = texts(&parsed(svg(name)));
            let here = !name.contains("two_nodes") || path.joins(Reach::TwoNodes, Family::V6);
            assert_eq!(
                texts.iter().filter(|text| **text == label).count(),
                usize::from(here),
                "{name}: {label}"
            );
        }
    }
    assert!(!svg("udp_packet").contains("nft-flowtable"));
}

#[test]
fn lengths_of_bars_are_in_proportion_to_the_values() {
    let results = &RUN.0;
    let bars = bars_of(svg("tcp_connect"));
    assert_eq!(
        bars.keys().filter(|title| title.contains(", ")).count(),
        14 * 4 + 4 * 2 + 4
    );
    let cell = Cell {
        reach: Reach::SameNode,
        family: Family::V4,
        measure: Measure::TcpConnect,
    };
    let length = |path: Way| bars[&format!("{path}, same node, IPv4")];
    let value = |path| absolute(results, path, cell, Figure::Rate).unwrap().median;
    let unit = length(Way::Direct) / value(Way::Direct);
    for (path, _) in PATHS
        .into_iter()
        .filter(|(path, _)| *path != Way::NftFlowtable)
        .filter(|(path, _)| path.joins(Reach::SameNode, Family::V4))
    {
        let expected = value(path) * unit;
        assert!(
            (length(path) - expected).abs() < 0.05,
            "{path:?}: {} {expected}",
            length(path)
        );
    }
}

#[test]
fn bars_that_would_hide_the_others_are_cut_and_marked() {
    let svg = svg("udp_packet");
    let bars = bars_of(svg);
    let longest = bars.values().copied().fold(0.0, f64::max);
    assert_eq!(bars["iptables-5000, same node, IPv4"], longest);
    assert_eq!(bars["nft-5000, same node, IPv4"], longest);
    assert!(bars["direct, same node, IPv4"] > longest / 8.0);
    let document = parsed(svg);
    let marks = document
        .descendants()
        .filter(|node| node.attribute("class") == Some("break"));
    // Two strokes on each of four bars of the paths with 1000 and 5000 rules.
    assert_eq!(marks.count(), 2 * 4 * 4);
}

#[test]
fn hop_cost_has_no_bar_for_direct() {
    let bars = bars_of(svg("hop_cost"));
    assert!(bars.contains_key("netpath, two nodes, IPv6"));
    assert!(!bars.keys().any(|title| title.starts_with("direct")));
}

#[test]
fn distributions_rise() {
    for place in PLACES {
        let curves = curves_of(svg(&format!("latency_{place}")));
        // Of those that join two endpoints anywhere, and two on one node or on two.
        assert_eq!(curves.len(), 14 + 2);
        for (label, points) in curves {
            assert!(points.len() > 200, "{label}");
            for pair in points.windows(2) {
                // Upwards is towards lower y.
                assert!(
                    pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1,
                    "{label}: {pair:?}"
                );
            }
            let (first, last) = (points[0], points[points.len() - 1]);
            assert!(first.0 < last.0 && first.1 > last.1, "{label}");
        }
    }
}

#[test]
fn rules_grow_and_netpath_is_level() {
    let svg = svg("rules_same_node_v4");
    let curves = curves_of(svg);
    assert_eq!(
        curves.keys().collect::<Vec<_>>(),
        ["iptables", "nft rules", "nft set"]
    );
    assert_eq!(curves["iptables"].len(), 4);
    assert!(
        curves["nft rules"]
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0)
    );
    assert!(
        curves["nft rules"]
            .windows(2)
            .all(|pair| pair[0].1 > pair[1].1)
    );
    let document = parsed(svg);
    let level = document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("polyline"))
        .find(|node| title(*node).is_some_and(|text| text.starts_with("netpath: ")))
        .unwrap();
    let points: Vec<_> = level
        .attribute("points")
        .unwrap()
        .split([' ', ','])
        .collect();
    assert_eq!(points.len(), 4);
    assert_eq!(points[1], points[3]);
}
