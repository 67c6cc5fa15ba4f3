//! Progress while it happens: drawn in place on a terminal, as lines elsewhere.

use std::io::{self, IsTerminal, Stdout, Write};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Gauge, Paragraph, Sparkline};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::options::{DemoOptions, Output};
use super::trace::{EventRecord, Sample, throughput};
use crate::scenario::PathSpec;

/// Time a bar of the history stands for.
const BAR: Duration = Duration::from_millis(200);
/// Events shown in place.
const EVENTS: usize = 5;
/// How often a line is written where nothing can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// A colour for each path, as in the picture.
const COLOURS: [Color; 4] = [Color::Blue, Color::Yellow, Color::Green, Color::Magenta];

/// The state of a download to show.
pub(super) struct Snapshot<'a> {
    pub(super) at: Duration,
    pub(super) received: u64,
    pub(super) samples: &'a [Sample],
    pub(super) up: &'a [bool],
    pub(super) events: &'a [EventRecord],
}

impl Snapshot<'_> {
    /// A path's throughput in Mbit/s now.
    fn rate(&self, index: usize) -> f64 {
        let window = Duration::from_millis(500);
        let recent = self.samples.partition_point(|sample| sample.at + window < self.at);
        let (Some(first), Some(last)) = (self.samples.get(recent), self.samples.last()) else {
            return 0.0;
        };
        let bytes = last.delivered[index].frame_bytes() - first.delivered[index].frame_bytes();
        let seconds = (last.at - first.at).as_secs_f64();
        if seconds > 0.0 { bytes as f64 * 8.0 / 1e6 / seconds } else { 0.0 }
    }
}

/// Shows progress.
pub(super) struct View {
    paths: Vec<PathSpec>,
    bytes: u64,
    way: Way,
}

enum Way {
    Live(Box<Terminal<CrosstermBackend<Stdout>>>),
    Lines(Lines),
}

struct Lines {
    out: Box<dyn Write>,
    next: Duration,
    events_shown: usize,
}

impl View {
    pub(super) fn new(options: &DemoOptions) -> Self {
        let paths = options.paths.clone();
        let height = 2 + 2 * paths.len() + EVENTS;
        let live = options.output == Output::Terminal && io::stdout().is_terminal();
        // A terminal that does not say where its cursor is gets lines.
        let live = live.then(|| {
            let viewport = Viewport::Inline(u16::try_from(height).unwrap_or(u16::MAX));
            Terminal::with_options(CrosstermBackend::new(io::stdout()), TerminalOptions { viewport }).ok()
        });
        let out: Box<dyn Write> =
            if options.output == Output::Json { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        let lines = Way::Lines(Lines { out, next: Duration::ZERO, events_shown: 0 });
        let way = live.flatten().map_or(lines, |terminal| Way::Live(Box::new(terminal)));
        Self { paths, bytes: options.bytes, way }
    }

    /// A sentence about what happens next. What cannot be shown is not worth ending the experiment for.
    pub(super) fn say(&mut self, text: &str) {
        match &mut self.way {
            Way::Live(terminal) => {
                let _ = terminal.insert_before(1, |buffer| {
                    buffer.set_string(0, 0, text, Style::new().dim());
                });
            }
            Way::Lines(lines) => lines.line(text),
        }
    }

    pub(super) fn draw(&mut self, snapshot: &Snapshot<'_>) {
        let (paths, bytes) = (&self.paths, self.bytes);
        match &mut self.way {
            Way::Live(terminal) => {
                let _ = terminal.draw(|frame| draw(frame, paths, bytes, snapshot));
            }
            Way::Lines(lines) => lines.draw(paths, bytes, snapshot),
        }
    }

    /// Leaves the last picture standing, with the cursor below it.
    pub(super) fn finish(&mut self) {
        if let Way::Live(terminal) = &mut self.way {
            let area = terminal.get_frame().area();
            let _ = terminal.set_cursor_position(Position::new(0, area.bottom().saturating_sub(1)));
            let _ = terminal.show_cursor();
            println!();
        }
    }
}

impl Lines {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn draw(&mut self, paths: &[PathSpec], bytes: u64, snapshot: &Snapshot<'_>) {
        for event in snapshot.events.iter().skip(self.events_shown) {
            let text = format!("{:6.2} s  {}", event.seconds, event.text());
            self.line(&text);
        }
        self.events_shown = snapshot.events.len();
        if snapshot.at < self.next {
            return;
        }
        self.next = snapshot.at + LINE_EVERY;
        let rate = |(index, path): (usize, &PathSpec)| format!("{} {:.1} Mbit/s", path.name, snapshot.rate(index));
        let rates: Vec<_> = paths.iter().enumerate().map(rate).collect();
        let part = 100.0 * snapshot.received as f64 / bytes as f64;
        self.line(&format!("{:6.2} s  {part:3.0} %  {}", snapshot.at.as_secs_f64(), rates.join(", ")));
    }
}

fn draw(frame: &mut Frame<'_>, paths: &[PathSpec], bytes: u64, snapshot: &Snapshot<'_>) {
    let mut heights = vec![Constraint::Length(2); paths.len()];
    heights.extend([Constraint::Length(1), Constraint::Length(1), Constraint::Length(EVENTS as u16)]);
    let rows = Layout::vertical(heights).split(frame.area());
    for (index, path) in paths.iter().enumerate() {
        draw_path(frame, rows[index], index, path, snapshot);
    }
    draw_progress(frame, rows[paths.len()], bytes, snapshot);
    draw_events(frame, rows[paths.len() + 2], snapshot);
    // Otherwise the terminal is left without a cursor when the user interrupts us.
    frame.set_cursor_position(Position::new(0, frame.area().bottom().saturating_sub(1)));
}

fn draw_path(frame: &mut Frame<'_>, area: Rect, index: usize, path: &PathSpec, snapshot: &Snapshot<'_>) {
    let [text, bars] = Layout::horizontal([Constraint::Length(34), Constraint::Min(10)]).areas(area);
    let colour = COLOURS[index % COLOURS.len()];
    let now = if snapshot.up[index] {
        Span::raw(format!("{:>6.1} Mbit/s", snapshot.rate(index))).bold()
    } else {
        Span::raw("          cut").fg(Color::Red).bold()
    };
    let name = Line::from(vec![Span::raw(format!("{:<14}", path.name)).fg(colour).bold(), now]);
    let rtt = path.up.delay + path.down.delay;
    let rate = path.down.rate.map_or_else(|| "no limit".into(), |rate| rate.to_string());
    let loss = if path.down.loss > 0.0 { format!(", {} % loss", path.down.loss * 100.0) } else { String::new() };
    let ideal = Line::from(format!("{rate}, {} ms{loss}", rtt.as_millis())).dim();
    frame.render_widget(Paragraph::new(vec![name, ideal]), text);

    let points = throughput(snapshot.samples, index, BAR, BAR);
    let from = points.len().saturating_sub(bars.width as usize);
    let values: Vec<u64> = points[from..].iter().map(|(_, rate)| (rate * 10.0) as u64).collect();
    let full = path.down.rate.map_or(1000, |rate| rate.as_bits_per_second() / 100_000);
    frame.render_widget(Sparkline::default().data(&values).max(full).style(Style::new().fg(colour)), bars);
}

fn draw_progress(frame: &mut Frame<'_>, area: Rect, bytes: u64, snapshot: &Snapshot<'_>) {
    let part = (snapshot.received as f64 / bytes as f64).clamp(0.0, 1.0);
    let label = format!(
        "{:.1} of {:.1} MB  {:.1} s",
        snapshot.received as f64 / 1e6,
        bytes as f64 / 1e6,
        snapshot.at.as_secs_f64()
    );
    let style = Style::new().fg(Color::Cyan).bg(Color::DarkGray);
    frame.render_widget(Gauge::default().ratio(part).label(label).gauge_style(style), area);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot<'_>) {
    let from = snapshot.events.len().saturating_sub(EVENTS);
    let line = |event: &EventRecord| Line::from(format!("{:6.2} s  {}", event.seconds, event.text()));
    frame.render_widget(Paragraph::new(snapshot.events[from..].iter().map(line).collect::<Vec<_>>()), area);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::link::{Count, Rate};

    #[test]
    fn the_live_view_shows_rates_progress_and_events() {
        let ms = Duration::from_millis;
        let paths = [
            PathSpec::new("wifi", Rate::mbit(50), ms(20), ms(20)).with_loss(0.005),
            PathSpec::new("lte", Rate::mbit(20), ms(60), ms(100)),
        ];
        // 25,000 bytes in 10 ms are 20 Mbit/s.
        let delivered = |i: u64| vec![Count { packets: 0, bytes: 0 }, Count { packets: 0, bytes: i * 25_000 }];
        let samples: Vec<_> = (0..200).map(|i| Sample { at: ms(10 * i), delivered: delivered(i) }).collect();
        let events = [EventRecord { seconds: 1.25, event: "cut".into(), name: Some("wifi".into()), reason: None }];
        let snapshot =
            Snapshot { at: ms(1990), received: 10_000_000, samples: &samples, up: &[false, true], events: &events };
        let mut terminal = Terminal::new(TestBackend::new(90, 11)).unwrap();
        terminal.draw(|frame| draw(frame, &paths, 40_000_000, &snapshot)).unwrap();
        let shown = terminal.backend().to_string();
        for part in ["wifi", "cut", "20.0 Mbit/s", "10.0 of 40.0 MB", "1.25 s  wifi: cut", "0.5 % loss"] {
            assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
        }
    }
}
