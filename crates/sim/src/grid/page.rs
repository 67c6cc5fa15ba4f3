//! The report as one page of HTML that needs nothing else.

use std::fmt::Write as _;

use super::chart::{Axis, Picture, css_colour, svg};
use super::figure::{Figure, SHARE_OF_SINGLE_PATHS};
use super::report::{Curve, GridReport, Panel, Row, number};
use super::windows::WindowChart;

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;color:#282828;max-width:1240px;margin:2em auto;padding:0 1em}\
h1{font-size:1.5em}h2{font-size:1.15em;margin:2em 0 .3em;border-top:1px solid #ddd;padding-top:1em}\
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.12em .9em .12em 0;text-align:left;white-space:nowrap}\
td.n{text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600;border-bottom:1px solid #ccc}\
.met{color:#00734f}.missed{color:#b8330b;font-weight:600}.panels{display:flex;flex-wrap:wrap;gap:.4em 1em}\
figure{margin:0;width:380px}figcaption{font-size:.9em;font-weight:600}figcaption span{font-weight:400;color:#666}\
.key{font-size:.88em;color:#444}.key i{display:inline-block;width:18px;height:3px;margin:0 .4em .22em 1em}\
.note{color:#b8330b;font-size:.9em}code{background:#f3f3f3;padding:.1em .3em}.said{color:#666;font-size:.9em}";

/// The whole page.
pub(super) fn page(report: &GridReport) -> String {
    let mut out = String::new();
    let missed: Vec<_> = report.figures().filter(|figure| figure.met() == Some(false)).cloned().collect();
    let bars = report.figures().filter(|figure| figure.met().is_some()).count();
    let verdict = if report.ok() { "met" } else { "missed" };
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\
         <style>{STYLE}</style><h1>{0}</h1>\
         <p><span class=\"{verdict}\">{1} of {bars} bars met.</span> Seeds {2} to {3}; {4}.</p>",
        escape(report.title),
        bars - missed.len(),
        report.seed,
        report.seed + report.seeds.max(1) - 1,
        escape(report.about),
    );
    let _ = write!(
        out,
        "<p class=\"said\"><code>{}</code><br>{}, {} cores, Linux {}</p>",
        escape(&report.command),
        escape(&report.settings.to_string()),
        report.machine.cores,
        escape(&report.machine.kernel),
    );
    if !missed.is_empty() {
        write_figures(&mut out, &missed);
    }
    for row in &report.rows {
        write_row(&mut out, row);
    }
    if !report.windows.is_empty() {
        out.push_str(
            "<h2>Receive windows</h2><p>Goodput over the largest receive window: Mbit/s, and by that of the \
                      best path alone. The dashed line is the bar.</p>",
        );
    }
    for chart in &report.windows {
        write_windows(&mut out, chart);
    }
    out.push_str("</html>\n");
    out
}

fn write_row(out: &mut String, row: &Row) {
    let _ = write!(out, "<h2 id=\"{0}\">{0}: {1}</h2>", escape(&row.name), escape(&row.title));
    let curves = row.panels.iter().map(|panel| panel.curves.as_slice()).max_by_key(|curves| curves.len());
    let curves = curves.unwrap_or_default();
    write_key(out, curves, curves.len().saturating_sub(1), "Mbit/s");
    out.push_str("<div class=\"panels\">");
    let points = row.panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points);
    let end = points.fold(0.0, |end, (x, _)| f64::max(end, *x)).ceil();
    let top = row.panels.iter().map(carried).fold(1.0, f64::max) * 1.1;
    for panel in row.panels.iter().filter(|panel| !panel.curves.is_empty()) {
        write_panel(out, row, panel, end, top);
    }
    out.push_str("</div>");
    write_figures(out, &row.figures);
    write_notes(out, &row.notes);
}

/// The most that all paths of a panel carried at one time. What reached the application may peak far above it, where
/// much had waited for one missing segment.
fn carried(panel: &Panel) -> f64 {
    let paths = &panel.curves[..panel.curves.len().saturating_sub(1)];
    let at = |index: usize| paths.iter().filter_map(|curve| curve.points.get(index)).map(|(_, mbit)| mbit).sum();
    (0..paths.first().map_or(0, |curve| curve.points.len())).map(at).fold(0.0, f64::max)
}

fn write_panel(out: &mut String, row: &Row, panel: &Panel, end: f64, top: f64) {
    let mbit = panel.mbit.map_or_else(String::new, |mbit| format!("{} Mbit/s", number(mbit)));
    let picture = Picture {
        curves: &panel.curves,
        coloured: panel.curves.len().saturating_sub(1),
        x: Axis::Seconds(end),
        top,
        shade: row.outage,
        level: None,
    };
    write_picture(out, &panel.title, &mbit, &picture);
}

fn write_windows(out: &mut String, chart: &WindowChart) {
    let _ = write!(out, "<h3>{}: {}</h3>", escape(&chart.name), escape(&chart.title));
    let coloured = chart.ratio.len();
    write_key(out, &chart.goodput, coloured, "");
    out.push_str("<div class=\"panels\">");
    for (title, curves, level) in [
        ("Goodput, Mbit/s", &chart.goodput, None),
        ("By the best path alone", &chart.ratio, Some(SHARE_OF_SINGLE_PATHS)),
    ] {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let top = points().map(|(_, y)| *y).chain(level).fold(0.1, f64::max) * 1.05;
        let from = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        let to = points().map(|(x, _)| *x).fold(0.0, f64::max);
        if from.is_finite() {
            let x = Axis::Doubling(from, to);
            let picture = Picture { curves, coloured, x, top, shade: None, level };
            write_picture(out, title, "", &picture);
        }
    }
    out.push_str("</div>");
    write_figures(out, std::slice::from_ref(&chart.figure));
    write_notes(out, &chart.notes);
}

fn write_picture(out: &mut String, title: &str, said: &str, picture: &Picture<'_>) {
    let drawn = svg(picture).unwrap_or_else(|error| escape(&format!("no picture: {error}")));
    let (title, said) = (escape(title), escape(said));
    let _ = write!(out, "<figure><figcaption>{title} <span>{said}</span></figcaption>{drawn}</figure>");
}

/// Which colour is what.
fn write_key(out: &mut String, curves: &[Curve], coloured: usize, unit: &str) {
    let _ = write!(out, "<p class=\"key\">{unit}");
    for (index, curve) in curves.iter().enumerate() {
        let colour = css_colour(index, coloured);
        let _ = write!(out, "<i style=\"background:{colour}\"></i>{}", escape(&curve.label));
    }
    out.push_str("</p>");
}

fn write_figures(out: &mut String, figures: &[Figure]) {
    out.push_str("<table><tr><th>figure<th>value<th><th>bar<th>");
    for figure in figures {
        let value = figure.value.map_or_else(|| "-".into(), number);
        let bar = figure.bar.map_or_else(String::new, |bar| bar.to_string());
        let (class, verdict) = match figure.met() {
            Some(true) => ("met", "met"),
            Some(false) => ("missed", "missed"),
            None => ("", ""),
        };
        let (name, unit) = (escape(&figure.name), escape(figure.unit));
        let _ = write!(out, "<tr><td>{name}<td class=\"n\">{value}<td>{unit}<td>{bar}<td class=\"{class}\">{verdict}");
    }
    out.push_str("</table>");
}

fn write_notes(out: &mut String, notes: &[String]) {
    for note in notes {
        let _ = write!(out, "<p class=\"note\">{}</p>", escape(note));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
