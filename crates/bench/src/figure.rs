//! What comparisons come to: a ratio with its interval, and whether its bar is missed.

use std::fmt;

use polypath_sim::grid::figure::Bar;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::stats::Summary;

/// A number of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// As the table of bars has it: `bulk.library`.
    pub name: String,
    /// What was measured; none where nothing could be.
    pub value: Option<Summary>,
    /// Of the value.
    pub unit: &'static str,
    /// What it has to be; none where it is only told.
    pub bar: Option<Bar>,
}

impl Figure {
    /// Whether it is where it has to be; none without a bar. It is missed only if its whole interval is on the wrong side,
    /// and where nothing was measured.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let bar = self.bar?;
        Some(self.value.is_some_and(|Summary { interval: (low, high), .. }| match bar {
            Bar::AtLeast(least) => high >= least,
            Bar::AtMost(most) => low <= most,
            Bar::Within(least, most) => high >= least && low <= most,
        }))
    }

    /// How far it is above its bar, or below: less is worse. What was not measured is the worst.
    pub(crate) fn standing(&self) -> f64 {
        match (self.value, self.bar) {
            (Some(value), Some(Bar::AtMost(bar))) => bar - value.median,
            (Some(value), Some(Bar::AtLeast(bar))) => value.median - bar,
            (Some(value), Some(Bar::Within(least, most))) => (value.median - least).min(most - value.median),
            (Some(value), None) => value.median,
            (None, _) => f64::NEG_INFINITY,
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Figure", 7)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("value", &self.value.map(|value| rounded(value.median)))?;
        fields.serialize_field("unit", self.unit)?;
        fields.serialize_field("bar", &self.bar)?;
        fields.serialize_field("met", &self.met())?;
        fields.serialize_field("interval", &self.value.map(|v| (rounded(v.interval.0), rounded(v.interval.1))))?;
        fields.serialize_field("pairs", &self.value.map_or(0, |value| value.count))?;
        fields.end()
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, bar, .. } = self;
        let value = value.map_or_else(
            || "-".to_owned(),
            |v| format!("{} ({} to {})", number(v.median), number(v.interval.0), number(v.interval.1)),
        );
        let bar = bar.map_or_else(String::new, |bar| bar.to_string());
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        f.write_str(format!("{name:<22} {value:<26} {unit:<6} {bar:<14} {verdict}").trim_end())
    }
}

/// Three digits after the point are all that is meant.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A number with as many digits as it deserves.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_missed_only_by_the_whole_interval() {
        let figure = |values: &[f64], bar| {
            let value = Summary::of(values.iter().copied());
            Figure { name: "x".into(), value, unit: "ratio", bar: Some(bar) }
        };
        assert_eq!(figure(&[1.2, 1.3, 1.6], Bar::AtLeast(1.5)).met(), Some(true));
        assert_eq!(figure(&[1.2, 1.3, 1.4], Bar::AtLeast(1.5)).met(), Some(false));
        assert_eq!(figure(&[0.6, 0.8, 0.9], Bar::AtMost(0.7)).met(), Some(true));
        assert_eq!(figure(&[0.8, 0.8, 0.9], Bar::AtMost(0.7)).met(), Some(false));
        assert_eq!(figure(&[], Bar::AtMost(0.7)).met(), Some(false));
        assert!(figure(&[0.8], Bar::AtMost(0.7)).standing() < figure(&[0.75], Bar::AtMost(0.7)).standing());
        let json = serde_json::to_value(figure(&[1.0, 1.25, 1.6], Bar::AtLeast(1.5))).unwrap();
        assert_eq!((&json["value"], &json["met"], &json["pairs"]), (&1.25.into(), &true.into(), &3.into()));
        assert_eq!(json["interval"], serde_json::json!([1.0, 1.6]));
    }
}
