//! A rule's table in TOML becomes a [`Rule`]. Its keys are the names of the flags that say the same for all connections.

use crate::conditions::Conditions;
use crate::file::{Error, Source, Value, names, words};
use crate::rule::{Rule, RulePath, Treatment};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a rule may say: first which connections, then how.
const KEYS: [&str; 11] = [
    "program",
    "port",
    "remote",
    "direction",
    "path",
    "metered",
    "scheduler",
    "cc",
    "path-manager",
    "max-subflows",
    "no-multipath",
];

pub(crate) fn rule(source: &Source<'_>, table: &Spanned<DeTable<'_>>) -> Result<Rule, Error> {
    let (mut when, mut then) = (Conditions::default(), Treatment::default());
    for (key, value) in table.get_ref() {
        let entry = Entry { source, key: key.get_ref(), value };
        match entry.key {
            "program" => when.programs = entry.list(program)?,
            "port" => when.ports = entry.list(ports)?,
            "remote" => when.remotes = entry.list(str::parse)?,
            "direction" => when.direction = Some(entry.one()?),
            "path" => then.paths = Some(entry.list(path)?),
            "metered" => then.metered = Some(entry.one()?),
            "scheduler" => then.scheduler = Some(entry.one()?),
            "cc" => then.congestion = Some(entry.one()?),
            "path-manager" => then.path_manager = Some(entry.one()?),
            "max-subflows" => then.max_subflows = Some(entry.subflows()?),
            "no-multipath" => then.no_multipath = Some(entry.flag()?),
            other => {
                let message = format!("a rule has no key '{other}'; known: {}", names(KEYS));
                return Err(source.error(key.span().start, message));
            }
        }
    }
    Ok(Rule { at: source.at(table.span().start), when, then })
}

/// A key and its value.
struct Entry<'a> {
    source: &'a Source<'a>,
    key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

impl Entry<'_> {
    fn error(&self, message: impl Display) -> Error {
        self.source.error(self.value.span().start, format!("{}: {message}", self.key))
    }

    fn words(&self) -> Result<Vec<String>, Error> {
        match words(self.value.get_ref()) {
            Some(Value::Words(words)) if !words.is_empty() => Ok(words),
            _ => Err(self.error("must be a text or a number, or a list of them")),
        }
    }

    fn list<T, E: Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, Error> {
        self.words()?.iter().map(|word| parse(word).map_err(|error| self.error(error))).collect()
    }

    fn one<T: FromStr<Err = String>>(&self) -> Result<T, Error> {
        match &self.words()?[..] {
            [word] => word.parse().map_err(|error| self.error(error)),
            _ => Err(self.error("can only have one value")),
        }
    }

    fn subflows(&self) -> Result<usize, Error> {
        match self.words()?[..] {
            [ref word] => word.parse().ok().filter(|n| (1..=64).contains(n)),
            _ => None,
        }
        .ok_or_else(|| self.error("is a number, 1 to 64"))
    }

    fn flag(&self) -> Result<bool, Error> {
        self.value.get_ref().as_bool().ok_or_else(|| self.error("is true or false"))
    }
}

fn program(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("a program's name is not empty") } else { Ok(text.to_owned()) }
}

fn path(text: &str) -> Result<RulePath, String> {
    if text.is_empty() || text == ":backup" {
        return Err("a path's name is not empty".to_owned());
    }
    Ok(text.into())
}

/// `80`, or `8000-8999`.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("'{text}' is neither a port nor a range of ports like '8000-8999'")),
    }
}
