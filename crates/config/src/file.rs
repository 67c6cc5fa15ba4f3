//! The file: settings and rules, each with the line that it stands in.

use crate::rule::Rule;
use crate::table;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Error {
    at: String,
    message: String,
}

impl Error {
    /// `at` says where: a file and its line, or a flag.
    #[must_use]
    pub fn new(at: &str, message: impl Into<String>) -> Self {
        Error { at: at.to_owned(), message: message.into() }
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// Flags, by their long names.
    pub settings: Vec<Setting>,
    /// Rules, in their order.
    pub rules: Vec<Rule>,
}

/// A flag in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its long name, without the dashes.
    pub key: String,
    /// What it says.
    pub value: Value,
    /// The file and the line.
    pub at: String,
}

/// What a flag may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// That something is so, or not.
    Flag(bool),
    /// One or several words; a number is one.
    Words(Vec<String>),
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or what is in it cannot be understood. Whether there are such settings is not known here.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| Error::new(&name, format!("cannot be read: {error}")))?;
        Self::parse(&name, &text)
    }

    /// Reads what a file called `name` has in it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let source = Source { name, text: Some(text) };
        let table = DeTable::parse(text).map_err(|error| source.syntax(&error))?;
        let mut file = File::default();
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            if key.get_ref() == "rule" {
                file.rules = rules(&source, value)?;
                continue;
            }
            let said = words(value.get_ref());
            let value = said.ok_or_else(|| {
                source.error(at, format!("{} is a text, a number, true or false, or a list of texts", key.get_ref()))
            })?;
            file.settings.push(Setting { key: key.get_ref().to_string(), value, at: source.at(at) });
        }
        Ok(file)
    }
}

/// The inside of a table: `program = "curl", cc = "lia"`.
impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let source = Source { name: "--rule", text: None };
        let document = format!("rule = [{{ {text} }}]");
        let table = DeTable::parse(&document).map_err(|error| error.message().to_owned())?;
        let mut all = Vec::new();
        for (key, value) in table.get_ref() {
            if key.get_ref() != "rule" {
                return Err("a rule is one table".to_owned());
            }
            all = rules(&source, value).map_err(|error| error.message)?;
        }
        match all.len() {
            1 => all.pop().map(|rule| Rule { at: format!("--rule '{text}'"), ..rule }).ok_or_else(String::new),
            _ => Err("a rule is one table".to_owned()),
        }
    }
}

fn rules(source: &Source<'_>, value: &Spanned<DeValue<'_>>) -> Result<Vec<Rule>, Error> {
    let wrong = |at| source.error(at, "rules are tables, each under a line [[rule]]".to_owned());
    let DeValue::Array(array) = value.get_ref() else { return Err(wrong(value.span().start)) };
    let one = |entry: &Spanned<DeValue<'_>>| match entry.get_ref() {
        DeValue::Table(rule) => table::rule(source, &Spanned::new(entry.span(), rule.clone())),
        _ => Err(wrong(entry.span().start)),
    };
    array.iter().map(one).collect()
}

/// Texts, numbers and flags, and lists of the first two.
pub(crate) fn words(value: &DeValue<'_>) -> Option<Value> {
    let word = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok().map(|n| n.to_string())
        }
        _ => None,
    };
    match value {
        DeValue::Boolean(yes) => Some(Value::Flag(*yes)),
        DeValue::Array(array) => array.iter().map(|v| word(v.get_ref())).collect::<Option<_>>().map(Value::Words),
        other => word(other).map(|word| Value::Words(vec![word])),
    }
}

/// For people.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What is being read.
pub(crate) struct Source<'a> {
    name: &'a str,
    /// None: it has no lines.
    text: Option<&'a str>,
}

impl Source<'_> {
    /// The place of the byte at `offset`.
    pub(crate) fn at(&self, offset: usize) -> String {
        let Some(text) = self.text else { return self.name.to_owned() };
        let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        format!("{}:{line}", self.name)
    }

    pub(crate) fn error(&self, offset: usize, message: String) -> Error {
        Error { at: self.at(offset), message }
    }

    fn syntax(&self, error: &toml::de::Error) -> Error {
        self.error(error.span().map_or(0, |span| span.start), error.message().to_owned())
    }
}
