//! What the page says.

use super::*;

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
