//! What is measured, by which name, and against which bar.

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// On which side of its bar a figure has to be.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Bar {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Neither less nor more.
    Within(f64, f64),
}

impl Bar {
    /// Whether a value meets it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Bar::AtLeast(bar) => value >= bar,
            Bar::AtMost(bar) => value <= bar,
            Bar::Within(least, most) => (least..=most).contains(&value),
        }
    }
}

/// The number, or both in a list.
impl Serialize for Bar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Bar::AtLeast(bar) | Bar::AtMost(bar) => rounded(bar).serialize(serializer),
            Bar::Within(least, most) => [least, most].serialize(serializer),
        }
    }
}

/// One number of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name: `d`, `c.bbr`, `h1.gap_ms.cubic`.
    pub name: String,
    /// What was measured; none where nothing could be.
    pub value: Option<f64>,
    /// Of the value.
    pub unit: &'static str,
    /// What it has to be; none where it is only told.
    pub bar: Option<Bar>,
}

impl Figure {
    /// A figure with a bar, or without. What is not a number, or infinite, was not measured.
    pub fn new(name: impl Into<String>, value: Option<f64>, unit: &'static str, bar: Option<Bar>) -> Self {
        Self { name: name.into(), value: value.filter(|value| value.is_finite()).map(rounded), unit, bar }
    }

    /// Whether it is where it has to be; none without a bar. Nothing measured meets no bar.
    pub fn met(&self) -> Option<bool> {
        self.bar.map(|bar| self.value.is_some_and(|value| bar.is_met(value)))
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, value, unit, bar, .. } = self;
        let mut fields = serializer.serialize_struct("Figure", 5)?;
        fields.serialize_field("name", name)?;
        fields.serialize_field("value", value)?;
        fields.serialize_field("unit", unit)?;
        fields.serialize_field("bar", bar)?;
        fields.serialize_field("met", &self.met())?;
        fields.end()
    }
}

/// Three digits after the point are all that is meant.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The fixed bar of a figure. Those of `c.cubic` and `f` are relative to single paths of the same run.
pub fn bar(name: &str) -> Option<Bar> {
    use Bar::{AtLeast, AtMost};
    Some(match name {
        "a" => AtLeast(92.0),
        "b" => AtLeast(9.1),
        "c.bbr" => AtLeast(60.0),
        "d" => AtLeast(98.0),
        "e" => AtLeast(53.0),
        "g.p99_ms" => AtMost(80.0),
        "g.p50_ms" => AtMost(42.0),
        "g.duplicated" => AtMost(0.10),
        "h1.gap_ms.cubic" => AtMost(500.0),
        "h1.gap_ms" | "h3.gap_ms" => AtMost(300.0),
        "h1.queue_ms" => AtMost(100.0),
        "h1.again_ms" => AtMost(500.0),
        "h2.gap_ms.cubic" => AtMost(400.0),
        "h2.gap_ms" => AtMost(250.0),
        "h2.remove_addr" | "h2.remove_addr.cubic" => AtLeast(1.0),
        "h3.share" => AtLeast(0.9),
        "h4.gap_ms" => AtMost(600.0),
        "h4.again_ms" => AtMost(1_000.0),
        _ => return None,
    })
}

/// What single paths of the same run a figure is held against, at [`SHARE_OF_SINGLE_PATHS`] of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// All of them together.
    Sum,
    /// The best.
    Best,
}

/// The relative bar of a figure.
pub fn against(name: &str) -> Option<Against> {
    match name {
        "c.cubic" => Some(Against::Sum),
        "f.cubic" | "f.bbr" => Some(Against::Best),
        _ => None,
    }
}

/// Of bulk rows: the share of bytes sent more than once in data, duplicated or reinjected.
pub const MAX_REINJECTED: Bar = Bar::AtMost(0.05);
/// Of `c`, `f` and every window: the share of what single paths give.
pub const SHARE_OF_SINGLE_PATHS: f64 = 0.95;
