//! Figures and tables for people.

/// `12.3MB`: three digits, decimal units.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value, "B")
}

/// `48.1Mbit`, each second, as `tc` has it.
pub(crate) fn rate(value: u64) -> String {
    scaled(value, "bit")
}

fn scaled(value: u64, unit: &str) -> String {
    if value < 1000 {
        return format!("{value}{unit}");
    }
    let mut scaled = value as f64;
    let mut prefix = ' ';
    for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
        // What would be shown as 1000 goes to the next prefix.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        prefix = next;
    }
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$}{prefix}{unit}")
}

/// `3.2s`, `4m05s`, `2h07m`, `3d04h`.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.max(0.0) as u64;
    match whole {
        0..60 => format!("{:.1}s", value.max(0.0)),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// `ResetByPeer` as `reset by peer`.
pub(crate) fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// What others named, on one line of at most `most` characters and without control characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let clean = |letter: char| if letter.is_control() { '?' } else { letter };
    if text.chars().count() <= most {
        return text.chars().map(clean).collect();
    }
    let front: String = text.chars().take(most.saturating_sub(3)).map(clean).collect();
    format!("{front}...")
}

/// Where a column's cells stand.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading, in columns as wide as they need to be.
#[derive(Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Table { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![heading] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| one_line(&cell, 64)).to_vec());
    }

    /// Whether there is nothing under the heading.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, each with `indent` spaces in front; columns that are empty throughout are left out.
    pub(crate) fn render(&self, indent: usize) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().skip(1).filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            if widest == 0 { 0 } else { widest.max(self.rows[0][column].chars().count()) }
        };
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.align).filter(|((_, width), _)| **width > 0)
            {
                let space = " ".repeat(width.saturating_sub(cell.chars().count()));
                match align {
                    Align::Left => line.extend([cell, space.as_str(), "  "]),
                    Align::Right => line.extend([space.as_str(), cell, "  "]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [0, 999, 1000, 1005, 9_994, 9_996, 99_940, 99_960, 999_499, 999_500, 12_345_678].map(bytes);
        let expected =
            ["0B", "999B", "1.00kB", "1.00kB", "9.99kB", "10.0kB", "99.9kB", "100kB", "999kB", "1.00MB", "12.3MB"];
        assert_eq!(shown, expected);
        assert_eq!(rate(u64::MAX), "18.4Ebit");
    }

    #[test]
    fn times_have_two_units() {
        let shown = [0.0, 59.94, 60.0, 3599.0, 3600.0, 90_000.0].map(seconds);
        assert_eq!(shown, ["0.0s", "59.9s", "1m00s", "59m59s", "1h00m", "1d01h"]);
    }

    #[test]
    fn what_others_named_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\n", 80), "a?[2Jb?");
        assert_eq!(one_line("abcdefgh", 6), "abc...");
        assert_eq!(words("ResetByPeer"), "reset by peer");
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut table = Table::new([("NAME", Align::Left), ("FLAGS", Align::Left), ("N", Align::Right)]);
        assert!(table.is_empty());
        table.row(["wifi".into(), String::new(), "7".into()]);
        table.row(["ethernet".into(), String::new(), "123".into()]);
        assert_eq!(table.render(2), "  NAME        N\n  wifi        7\n  ethernet  123\n");
    }
}
