//! The picture: each path's throughput over time, with the cut shaded and events marked.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::download::Download;
use super::options::DemoOptions;
use super::report::Report;
use super::trace::{EventRecord, throughput};

/// Size in pixels.
const SIZE: (u32, u32) = (1100, 620);
/// Distance of points, and the time each is the mean of.
const STEP: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(300);
/// Colours that people with colour blindness can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];
const TEXT: RGBColor = RGBColor(60, 60, 60);
const CUT: RGBColor = RGBColor(213, 94, 0);
const FONT: &str = "sans-serif";
/// Rows for the labels of events, above the curves.
const LABEL_ROWS: usize = 4;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the picture into an SVG file.
pub(super) fn write(
    path: &Path,
    options: &DemoOptions,
    report: &Report,
    download: &Download,
) -> anyhow::Result<()> {
    let svg = draw(options, report, download).map_err(|error| anyhow!("{error}"))?;
    Ok(std::fs::write(path, svg)?)
}

type DrawResult<T> = Result<T, Box<dyn std::error::Error>>;

fn draw(options: &DemoOptions, report: &Report, download: &Download) -> DrawResult<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let area = titles(&root, options, report)?;
        let mut chart = axes(&area, options, download)?;
        shade_cut(&mut chart, options, download)?;
        curves(&mut chart, options, download)?;
        plain_tcp(&mut chart, report, download)?;
        markers(&mut chart, &download.events, top(options))?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font((FONT, 14, &TEXT))
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}

fn style(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}

/// Title and subtitle; returns what is left of the picture.
fn titles<'a>(root: &Area<'a>, options: &DemoOptions, report: &Report) -> DrawResult<Area<'a>> {
    let program = options.program[0].to_string_lossy();
    let megabytes = options.bytes as f64 / 1e6;
    let first = &options.paths[0].name;
    let title = format!("{program} downloads {megabytes} MB while {first} is cut and comes back");
    let how = if report.sha256_ok {
        "arrived whole"
    } else {
        "did not arrive whole"
    };
    let gap = report
        .longest_gap_ms
        .map_or_else(String::new, |gap| format!(", longest gap {gap:.0} ms"));
    let goodput = report.bytes as f64 * 8.0 / 1e6 / report.seconds.max(1e-9);
    let subtitle = format!(
        "{how} in {:.1} s ({goodput:.1} Mbit/s){gap}; server: {}",
        report.seconds, report.peer
    );
    let (head, rest) = root.split_vertically(68);
    head.draw(&Text::new(title, (20, 14), style(24, TEXT)))?;
    head.draw(&Text::new(subtitle, (20, 44), style(15, TEXT)))?;
    Ok(rest)
}

/// The top of the vertical axis, with room for the events' labels.
fn top(options: &DemoOptions) -> f64 {
    let rate = |path: &crate::PathSpec| {
        path.down
            .rate
            .map_or(100.0, |rate| rate.as_bits_per_second() as f64 / 1e6)
    };
    options.paths.iter().map(rate).fold(0.0, f64::max) * 1.4
}

fn axes<'a, 'b>(
    area: &'a Area<'b>,
    options: &DemoOptions,
    download: &Download,
) -> DrawResult<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end(download), 0.0..top(options))?;
    chart
        .configure_mesh()
        .x_desc("time since the program was started (s)")
        .y_desc("throughput on the link (Mbit/s)")
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(WHITE)
        .axis_style(RGBColor(120, 120, 120))
        .axis_desc_style((FONT, 15, &TEXT))
        .label_style((FONT, 13, &TEXT))
        .draw()?;
    Ok(chart)
}

/// The time of the last sample in seconds, more than 0.
fn end(download: &Download) -> f64 {
    download
        .samples
        .last()
        .map_or(1.0, |sample| sample.at.as_secs_f64().max(0.1))
}

fn shade_cut(
    chart: &mut Chart<'_, '_>,
    options: &DemoOptions,
    download: &Download,
) -> DrawResult<()> {
    let Some(cut) = download.cut_at.map(|at| at.as_secs_f64()) else {
        return Ok(());
    };
    let back = download
        .return_at
        .map_or(end(download), |at| at.as_secs_f64());
    let shade = Rectangle::new([(cut, 0.0), (back, top(options))], CUT.mix(0.10).filled());
    chart.draw_series(std::iter::once(shade))?;
    Ok(())
}

fn curves(chart: &mut Chart<'_, '_>, options: &DemoOptions, download: &Download) -> DrawResult<()> {
    for (index, path) in options.paths.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points = throughput(&download.samples, index, STEP, WINDOW);
        let area = AreaSeries::new(points.clone(), 0.0, colour.mix(0.18));
        chart.draw_series(area)?;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(label(path))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    Ok(())
}

fn label(path: &crate::PathSpec) -> String {
    let rate = path
        .down
        .rate
        .map_or_else(|| "no limit".into(), |rate| rate.to_string());
    let rtt = (path.up.delay + path.down.delay).as_millis();
    let loss = if path.down.loss > 0.0 {
        format!(", {} % loss", path.down.loss * 100.0)
    } else {
        String::new()
    };
    format!("{}: {rate}, {rtt} ms{loss}", path.name)
}

/// What plain TCP gets on the best path, as a line to compare with.
fn plain_tcp(chart: &mut Chart<'_, '_>, report: &Report, download: &Download) -> DrawResult<()> {
    let Some(best) = report.best_plain_tcp() else {
        return Ok(());
    };
    let line = [(0.0, best.mbit), (end(download), best.mbit)];
    chart
        .draw_series(DashedLineSeries::new(
            line,
            6,
            5,
            TEXT.mix(0.7).stroke_width(1),
        ))?
        .label(format!(
            "goodput of plain TCP on {} alone: {:.1} Mbit/s",
            best.name, best.mbit
        ))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], TEXT.mix(0.7).stroke_width(1)));
    Ok(())
}

/// A vertical line for each event, with labels in rows so that neighbours do not cover each other.
fn markers(chart: &mut Chart<'_, '_>, events: &[EventRecord], top: f64) -> DrawResult<()> {
    let shown = events
        .iter()
        .filter(|event| !matches!(event.event.as_str(), "connected" | "closed"));
    for (index, event) in shown.enumerate() {
        let ours = matches!(event.event.as_str(), "cut" | "return");
        let colour = if ours { CUT } else { TEXT };
        let height = top * (0.985 - 0.055 * (index % LABEL_ROWS) as f64);
        let line = [(event.seconds, 0.0), (event.seconds, height)];
        chart.draw_series(std::iter::once(PathElement::new(
            line,
            colour.mix(0.6).stroke_width(1),
        )))?;
        let label = EmptyElement::at((event.seconds, height))
            + Text::new(event.text(), (5, 0), style(13, colour));
        chart.draw_series(std::iter::once(label))?;
    }
    Ok(())
}
