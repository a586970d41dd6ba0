//! What every plot and the page must hold, whatever they look like.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
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

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netpath-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

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

#[test]
fn the_page_states_every_ratio_and_what_is_not_there() {
    let (results, plots) = &*RUN;
    let page = html::page(results, plots);
    let document = parsed(&page);
    let all: String = document
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    let tables = document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("h3"))
        .count();
    assert_eq!(tables, 4 * 4);
    for cell in Cell::all(results) {
        for base in [Way::Direct, Way::Iptables] {
            let of = Selector {
                path: Way::Netpath,
                base,
                cell,
                figure: Figure::Cpu,
            };
            let (median, interval) =
                format::estimate(&paired(results, &of).unwrap(), format::ratio);
            assert!(all.contains(&median) && all.contains(&interval), "{of:?}");
        }
    }
    let udp = Cell {
        reach: Reach::TwoNodes,
        family: Family::V6,
        measure: Measure::UdpPacket,
    };
    let cost = hop_cost(results, Way::NftRules(1000), udp).unwrap();
    assert!(all.contains(&format::estimate(&cost, format::ns).1));
    for text in [
        "Fast & <Cheap> \"CPU\" @ 3 GHz",
        "6.18.5",
        "iptables v1.8.9 (nf_tables)",
        "not installed",
        "the kernel has no <nf_flow_table>",
        "FORWARD counted 10 of 12 packets & no more",
        "300 ms after 50 ms warm-up",
        "1 cell was thrown away",
        "another node <that> is up",
    ] {
        assert!(all.contains(text), "{text}");
    }
    let graphics = document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("svg"))
        .count();
    assert_eq!(graphics, plots.len());
}

#[test]
fn the_page_asks_nothing_of_the_network() {
    let (results, plots) = &*RUN;
    let page = html::page(results, plots);
    let document = parsed(&page);
    for node in document.descendants().filter(|node| node.is_element()) {
        assert!(!["script", "img", "link", "iframe"].contains(&node.tag_name().name()));
        assert_eq!(node.attribute("src"), None);
        if let Some(target) = node.attribute("href") {
            assert!(
                target.ends_with(".svg") && !target.contains('/'),
                "{target}"
            );
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
}

#[test]
fn an_empty_run_is_a_page_without_plots() {
    let mut results = run();
    results.samples.clear();
    assert_eq!(plots(&results).len(), 0);
    let page = html::page(&results, &[]);
    assert_eq!(page.matches("not measured").count(), 2 * 7 + 1);
    parsed(&page);
}

#[test]
fn one_round_of_one_path_is_enough_for_a_page() {
    let mut results = run();
    results
        .samples
        .retain(|sample| sample.round == 0 && sample.path == Way::Netpath);
    let plots = plots(&results);
    for plot in &plots {
        parsed(&plot.svg);
    }
    assert_eq!(plots[1].name, "hop_cost");
    // Nothing to subtract: no bars, but the axis stands.
    assert_eq!(bars_of(&plots[1].svg).len(), 0);
    parsed(&html::page(&results, &plots));
}

#[test]
fn files_are_written_for_everybody_to_read_and_replaced() {
    let scratch = Scratch::new("report-write");
    let dir = scratch.0.join("new/report");
    let (results, plots) = &*RUN;
    let first = write(&dir, results).unwrap();
    assert_eq!(first.len(), 1 + plots.len());
    assert_eq!(first[0], dir.join("report.html"));
    assert_eq!(write(&dir, results).unwrap(), first);
    let mut found: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut written = first.clone();
    found.sort();
    written.sort();
    assert_eq!(found, written);
    for path in &first {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o7777,
            0o644
        );
    }
    let plot = fs::read_to_string(dir.join("hop_cost.svg")).unwrap();
    assert_eq!(plot, svg("hop_cost"));
}

#[test]
fn other_peoples_files_stay() {
    let scratch = Scratch::new("report-foreign");
    let theirs = scratch.0.join("hop_cost.svg");
    fs::write(&theirs, "<svg/>").unwrap();
    let error = write(&scratch.0, &RUN.0).unwrap_err();
    assert!(
        matches!(&error, ReportError::Foreign { path } if *path == theirs),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "<svg/>");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);

    fs::remove_file(&theirs).unwrap();
    let elsewhere = scratch.0.join("elsewhere");
    fs::write(&elsewhere, plot::MARK).unwrap();
    symlink(&elsewhere, &theirs).unwrap();
    let error = write(&scratch.0, &RUN.0).unwrap_err();
    assert!(
        matches!(&error, ReportError::Foreign { path } if *path == theirs),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), plot::MARK);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let scratch = Scratch::new("report-directory");
    let file = scratch.0.join("file");
    fs::write(&file, "").unwrap();
    let error = write(&file.join("below"), &RUN.0).unwrap_err();
    assert!(matches!(&error, ReportError::Directory { path, .. } if *path == file.join("below")));
}

#[test]
fn where_a_report_can_be_written_is_known_before() {
    let scratch = Scratch::new("report-check");
    // Made when it is needed, and not before.
    let new = scratch.0.join("new/report");
    check(&new, Kind::Run).unwrap();
    assert!(!scratch.0.join("new").exists());
    // An earlier report is replaced, and other files are nobody's business.
    write(&scratch.0, &RUN.0).unwrap();
    fs::write(scratch.0.join("notes.svg"), "<svg/>").unwrap();
    check(&scratch.0, Kind::Run).unwrap();

    let theirs = scratch.0.join("latency_same_node_v4.svg");
    fs::remove_file(&theirs).unwrap();
    fs::write(&theirs, "<svg/>").unwrap();
    let error = check(&scratch.0, Kind::Run).unwrap_err();
    assert!(
        matches!(&error, ReportError::Taken { path } if *path == theirs),
        "{error}"
    );
    assert_eq!(error.ending(), Ending::Refused);
    // The other report has other names.
    check(&scratch.0, Kind::Growth).unwrap();

    for dir in [
        theirs.clone(),
        theirs.join("below/it"),
        "/proc/report".into(),
    ] {
        let error = check(&dir, Kind::Run).unwrap_err();
        assert!(matches!(&error, ReportError::Unfit { .. }), "{error}");
        assert_eq!(error.ending(), Ending::Refused);
        assert!(
            error.to_string().contains("choose another directory"),
            "{error}"
        );
    }
}

#[test]
fn every_name_of_a_report_is_known_as_one() {
    let scratch = Scratch::new("report-names");
    for path in write(&scratch.0, &RUN.0).unwrap() {
        assert!(Kind::Run.names(&path), "{}", path.display());
        assert!(!Kind::Growth.names(&path), "{}", path.display());
    }
    for other in ["notes.svg", "report.txt", "scale.html"] {
        assert!(!Kind::Run.names(&scratch.0.join(other)), "{other}");
    }
}

#[test]
fn the_page_begins_with_the_result_and_folds_its_warnings() {
    let (results, plots) = &*RUN;
    let page = html::page(results, plots);
    let document = parsed(&page);
    let body = document
        .descendants()
        .find(|node| node.has_tag_name_or_svg("body"))
        .unwrap();
    let first: Vec<_> = body.children().filter(Node::is_element).take(3).collect();
    let names: Vec<_> = first.iter().map(|node| node.tag_name().name()).collect();
    assert_eq!(names, ["h1", "p", "details"]);
    assert_eq!(first[1].text(), Some(headline(results).as_str()));
    assert_eq!(first[2].attribute("open"), None);
    let items = first[2]
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("li"));
    let count = items.count();
    let summary = first[2].first_element_child().unwrap();
    assert_eq!(summary.text(), Some(format!("{count} warnings").as_str()));
    assert!(count >= 2, "{count}");
}

#[test]
fn the_page_explains_each_path() {
    let (results, plots) = &*RUN;
    let page = html::page(results, plots);
    let document = parsed(&page);
    let rows: Vec<Vec<_>> = document
        .descendants()
        .filter(|node| node.has_tag_name_or_svg("tr"))
        .map(|row| row.children().filter_map(|cell| cell.text()).collect())
        .collect();
    for (path, _) in PATHS {
        let (name, text) = (path.to_string(), explained(path));
        let found = rows
            .iter()
            .filter(|row| **row == [name.as_str(), text.as_str()]);
        assert_eq!(found.count(), 1, "{path}");
    }
    // What somebody would have instead, at each place where it was measured beside netpath.
    let instead = |path: &str| {
        let found = rows.iter().filter(|row| row.len() == 4 && row[1] == path);
        found.count()
    };
    for (path, places) in [("vxlan", 2), ("bridge", 2), ("nat", 4), ("iptables", 4)] {
        assert_eq!(instead(path), places, "{path}");
    }
}
