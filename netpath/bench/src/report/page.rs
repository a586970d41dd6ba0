//! What every page is made of: one file that needs nothing else.

use super::plot::escaped;
use super::plots::Plot;
use super::{format, label};
use crate::Machine;
use crate::stats::Estimate;

/// What tells the page from other people's files.
pub const MARK: &str = "<meta name=\"generator\" content=\"netpath bench\"/>";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#5c5c5c;--ground:#fff;--rule:#ddd;--head:#f3f4f6;\
--good:#00664b;--bad:#a84300;--open:#6b5200}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#a5a8ad;--ground:#16181c;\
--rule:#383b41;--head:#22252a;--good:#4cc9a2;--bad:#ff9a57;--open:#e6c35c}}\
body{font:15px/1.5 system-ui,'DejaVu Sans',sans-serif;color:var(--ink);background:var(--ground);\
max-width:84rem;margin:2rem auto;padding:0 1rem}\
p,li{max-width:50rem}h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid var(--rule)}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:.5rem 0 1rem}\
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;white-space:nowrap}\
th{background:var(--head);font-weight:600}\
th:first-child,td:first-child,td.text,.words td,.words th{text-align:left}.words td{white-space:normal}\
td small{color:var(--soft);display:block}\
.met{color:var(--good);font-weight:600}.missed{color:var(--bad);font-weight:600}\
.undecided,.too_noisy,.not_measured{color:var(--open);font-weight:600}\
.result{font-size:1.2rem;max-width:60rem}summary{cursor:pointer;font-weight:600}\
.warnings{border-left:4px solid var(--bad);padding:.2rem 1rem;background:var(--head)}\
figure{margin:1rem 0 2rem;break-inside:avoid}figure svg{max-width:100%;height:auto}\
figcaption{color:var(--soft);font-size:13px;max-width:50rem}\
@page{size:A4 landscape;margin:12mm}\
@media print{body{max-width:none;margin:0;padding:0}h2,h3{break-after:avoid}tr{break-inside:avoid}\
.wide{overflow:visible}table{font-size:9px}th,td{padding:.1rem .25rem;white-space:normal}\
figure svg{max-height:160mm}}";

/// A page with `heading`, which is a text, above `sections`, which are HTML.
pub fn document(heading: &str, sections: &[String]) -> String {
    let title = escaped(heading);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>{MARK}\
         <meta name=\"viewport\" content=\"width=device-width\"/><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}</body></html>\n",
        body = sections.join("\n"),
    )
}

/// One cell of a table: what it says, and below it the interval.
pub struct Entry(pub String, pub String);

impl Entry {
    /// An estimate; a dash where there is none.
    pub fn of(estimate: Option<Estimate>, format: fn(f64) -> String) -> Self {
        let (median, interval) = estimate.map_or(("–".into(), String::new()), |found| {
            format::estimate(&found, format)
        });
        Self(median, interval)
    }

    /// As an element of a row.
    pub fn html(&self) -> String {
        if self.1.is_empty() {
            format!("<td>{}</td>", escaped(&self.0))
        } else {
            format!(
                "<td>{}<small>{}</small></td>",
                escaped(&self.0),
                escaped(&self.1)
            )
        }
    }
}

/// A table of rows that consist of elements.
pub fn table(class: &str, head: &[String], rows: impl Iterator<Item = String>) -> String {
    let head: String = head
        .iter()
        .map(|text| format!("<th>{}</th>", escaped(text)))
        .collect();
    let rows: String = rows.map(|row| format!("<tr>{row}</tr>\n")).collect();
    format!(
        "<div class=\"wide\"><table class=\"{class}\"><thead><tr>{head}</tr></thead>\n\
         <tbody>{rows}</tbody></table></div>\n"
    )
}

/// A table of texts.
pub fn words(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<_> = head.iter().map(|text| (*text).to_owned()).collect();
    table(
        "words",
        &head,
        rows.into_iter()
            .map(|row| row.iter().map(|text| plain(text)).collect()),
    )
}

/// A text as an element of a row.
pub fn plain(text: &str) -> String {
    format!("<td>{}</td>", escaped(text))
}

/// All plots with their captions.
pub fn figures(plots: &[Plot]) -> String {
    let figures: String = plots
        .iter()
        .map(|plot| {
            format!(
                "<figure>{}<figcaption>{} <a href=\"{name}.svg\">{name}.svg</a></figcaption></figure>\n",
                plot.svg,
                escaped(&plot.caption),
                name = plot.name
            )
        })
        .collect();
    format!("<h2>Plots</h2>\n{figures}")
}

/// The section on where and how it was measured.
pub fn machine_and_settings(machine: &Machine, settings: &[(&str, String)]) -> String {
    let tool = |version: &Option<String>| version.clone().unwrap_or_else(|| "not installed".into());
    let machine = [
        (
            "processor",
            format!("{}, {} online", machine.cpu, machine.cores),
        ),
        (
            "virtual machine",
            label::yes_no(machine.virtual_machine).to_owned(),
        ),
        (
            "memory",
            format!("{:.1} GiB", machine.memory as f64 / f64::from(1 << 30)),
        ),
        ("kernel", machine.kernel.clone()),
        ("netpath", machine.netpath.clone()),
        ("iptables", tool(&machine.iptables)),
        ("nft", tool(&machine.nft)),
        (
            "started",
            format!("{} s after 1970-01-01 UTC", machine.started),
        ),
    ];
    let rows = machine.iter().chain(settings);
    let rows = rows
        .map(|(name, value)| vec![(*name).to_owned(), value.clone()])
        .collect();
    format!("<h2>Machine and settings</h2>{}", words(&["", ""], rows))
}
