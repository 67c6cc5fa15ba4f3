//! The configuration file of `run` and `serve`: what it says is put before the flags, as flags, unless those say it already.

use crate::{Cli, Command as Subcommand, run, serve};
use anyhow::{Context as _, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use polypath_config::{Error, File, Setting, Value};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The commands that have a configuration. One of them may have settings that the other passes over.
const COMMANDS: [&str; 2] = ["run", "serve"];
/// Flags that are not for a file.
const NOT_IN_A_FILE: [&str; 4] = ["config", "help", "rule", "version"];
/// As a file's name: there is none.
const NONE: &str = "none";

/// Where a file is looked for that nobody has named: for this user, then for the host.
fn usual_places() -> Vec<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let own = home.map(|folder| folder.join("polypath/config.toml"));
    own.into_iter().chain([PathBuf::from("/etc/polypath.toml")]).collect()
}

/// Reads the command line, and with it the configuration file. Ends the process where the flags are wrong, or for help.
pub(crate) fn command_line(words: &[OsString]) -> anyhow::Result<Cli> {
    let command = Cli::command();
    let given = command.clone().get_matches_from(words);
    let Some((name, flags)) = given.subcommand().filter(|(name, _)| COMMANDS.contains(name)) else {
        return Ok(Cli::from_arg_matches(&given).unwrap_or_else(|error| error.exit()));
    };
    let Some(path) = file(flags.get_one::<PathBuf>("config")) else {
        return Ok(Cli::from_arg_matches(&given).unwrap_or_else(|error| error.exit()));
    };
    let File { settings, rules } = File::read(&path).context("the configuration")?;
    let own = command.find_subcommand(name).context("the command is known")?;
    let mut more = Vec::new();
    for setting in &settings {
        more.extend(as_flags(&command, own, flags, setting).context("the configuration")?);
    }
    // The command's name comes first, its flags after it.
    let (program, rest) = words.split_at(2.min(words.len()));
    let all = program.iter().cloned().chain(more.into_iter().map(OsString::from)).chain(rest.iter().cloned());
    let matches = command.try_get_matches_from(all).and_then(|matches| Cli::from_arg_matches(&matches));
    let mut cli = match matches {
        Ok(cli) => cli,
        // Each setting by itself is right.
        Err(error) => bail!("the configuration {}, together with the flags: {}", path.display(), reason(&error)),
    };
    if let Subcommand::Run(run::Args { host, .. }) | Subcommand::Serve(serve::Args { host, .. }) = &mut cli.command {
        host.rules.extend(rules);
    }
    Ok(cli)
}

/// The file to read.
fn file(named: Option<&PathBuf>) -> Option<PathBuf> {
    match named {
        Some(path) if path == Path::new(NONE) => None,
        Some(path) => Some(path.clone()),
        None => usual_places().into_iter().find(|path| path.exists()),
    }
}

/// A setting as the flags that say the same; none where the command has no such flag, or `given` says it already, or says
/// what cannot be said together with it.
fn as_flags(command: &Command, own: &Command, given: &ArgMatches, setting: &Setting) -> Result<Vec<String>, Error> {
    let Setting { key, value, at } = setting;
    let of =
        |name: &str| command.find_subcommand(name).and_then(|command| flag(command, key).map(|arg| (command, arg)));
    let Some((some, arg)) = of(own.get_name()).or_else(|| COMMANDS.iter().find_map(|name| of(name))) else {
        let known: Vec<String> = known(command).into_iter().collect();
        return Err(Error::new(at, format!("there is no setting '{key}'; known: {}", known.join(", "))));
    };
    let flags: Vec<String> = match value {
        Value::Flag(_) if arg.get_num_args().is_none_or(|values| values.min_values() > 0) => {
            return Err(Error::new(at, format!("{key}: is a text or a number, not true or false")));
        }
        Value::Flag(yes) => vec![format!("--{key}={yes}")],
        Value::Words(words) => words.iter().map(|word| format!("--{key}={word}")).collect(),
    };
    let alone = some.clone().mut_args(|arg| arg.required(false)).no_binary_name(true).ignore_errors(false);
    alone.try_get_matches_from(&flags).map_err(|error| Error::new(at, format!("{key}: {}", reason(&error))))?;
    if some.get_name() != own.get_name() {
        return Ok(Vec::new());
    }
    let is_given = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let excluded = |other: &Arg| own.get_arg_conflicts_with(other).iter().any(|a| a.get_id() == arg.get_id());
    let stands_against = |other: &Arg| is_given(other) && (other.get_id() == arg.get_id() || excluded(other));
    let against = own.get_arguments().any(stands_against) || own.get_arg_conflicts_with(arg).into_iter().any(is_given);
    Ok(if against { Vec::new() } else { flags })
}

fn flag<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key) && !NOT_IN_A_FILE.contains(&key))
}

/// All settings there are.
fn known(command: &Command) -> BTreeSet<String> {
    let flags = command.get_subcommands().filter(|c| COMMANDS.contains(&c.get_name())).flat_map(Command::get_arguments);
    let names = flags.filter_map(Arg::get_long).filter(|name| !NOT_IN_A_FILE.contains(name));
    names.map(str::to_owned).chain(["[[rule]]".to_owned()]).collect()
}

/// What is wrong, without advice for a command line.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str], text: &str) -> anyhow::Result<Cli> {
        let file = std::env::temp_dir().join(format!("polypath-config-{}-{:p}.toml", std::process::id(), text));
        std::fs::write(&file, text).unwrap();
        let config = format!("--config={}", file.display());
        let words = ["polypath", "run", &config].into_iter().chain(flags.iter().copied()).chain(["--", "true"]);
        let cli = command_line(&words.map(OsString::from).collect::<Vec<_>>());
        std::fs::remove_file(&file).unwrap();
        cli
    }

    fn host(flags: &[&str], text: &str) -> crate::host::HostArgs {
        match read(flags, text).unwrap().command {
            Subcommand::Run(run::Args { host, .. }) => host,
            other => panic!("{other:?}"),
        }
    }

    fn mistake(text: &str) -> String {
        let error = format!("{:#}", read(&[], text).unwrap_err());
        error.split_once(".toml:").expect("a place").1.to_owned()
    }

    #[test]
    fn a_file_says_what_flags_say_and_flags_win() {
        let text = "scheduler = \"ecf\"\ncc = \"lia\"\nmax-subflows = 3\nno-multipath = true\npath = [\"wlan0\", \"wwan0\"]\nport = 8080\n";
        let args = host(&["--cc", "olia", "--no-multipath=false"], text);
        assert_eq!((args.scheduler, args.cc.name(), args.max_subflows), ("ecf".parse().unwrap(), "olia", 3));
        assert!(!args.no_multipath && args.paths.len() == 2);
        let args = host(&["--address", "10.1.0.2=wifi"], text);
        assert!(
            args.no_multipath && args.paths.is_empty(),
            "paths of the file and addresses of a flag exclude each other"
        );
        assert_eq!(host(&["--path", "eth0"], text).paths.len(), 1);
        assert_eq!(host(&["--path", "eth0"], "address = \"10.1.0.2\"").addresses.len(), 0);
    }

    #[test]
    fn rules_of_flags_come_before_those_of_the_file() {
        let args = host(&["--rule", "port = 80, cc = \"lia\""], "[[rule]]\nport = 80\n[[rule]]\nport = 81\n");
        let ports: Vec<u16> = args.rules.iter().map(|rule| *rule.when.ports[0].start()).collect();
        assert_eq!(ports, [80, 80, 81]);
        assert!(args.rules[0].then.congestion.is_some());
    }

    #[test]
    fn a_mistake_in_a_file_is_told_with_its_line_and_what_is_known() {
        assert_eq!(
            mistake("cc = \"lia\"\nsheduler = \"ecf\"\n"),
            "2: there is no setting 'sheduler'; known: [[rule]], address, cc, dss-checksum, events, explain-rules, \
             listen, max-subflows, metered, mtu, no-multipath, path, path-manager, pcap, port, scheduler, seed, summary, \
             trace, tun"
        );
        let told =
            "2: scheduler: unknown scheduler 'best'; known: default, minrtt, linux, round-robin, redundant, blest, ecf";
        assert_eq!(mistake("\nscheduler = \"best\"\n"), told);
        assert!(mistake("max-subflows = 65").starts_with("1: max-subflows: 65 is not in 1..=64"));
        assert!(
            mistake("port = 70000").starts_with("1: port: 70000 is not in 0..=65535"),
            "also where run has no port"
        );
        assert!(
            mistake("cc = [\"lia\", \"olia\"]").starts_with("1: cc: the argument"),
            "{}",
            mistake("cc = [\"lia\", \"olia\"]")
        );
        assert!(mistake("summary = \"loud\"").starts_with("1: summary: "));
        assert_eq!(mistake("path = true"), "1: path: is a text or a number, not true or false");
        let both = format!("{:#}", read(&[], "path = \"wlan0\"\naddress = \"10.1.0.2\"\n").unwrap_err());
        assert!(both.contains("cannot be used with"), "{both}");
    }

    #[test]
    fn the_help_fits_a_screen_and_names_the_documentation() {
        let help = |word| {
            let words = ["polypath", "run", word].map(OsString::from);
            Cli::command().try_get_matches_from(words).unwrap_err().to_string()
        };
        let long = help("--help");
        assert_eq!(long, help("-h"));
        // The prompt needs the last line.
        assert!(long.lines().count() <= 23, "{} lines:\n{long}", long.lines().count());
        let wide: Vec<&str> = long.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        assert!(long.contains("docs/configuration.md"), "{long}");
    }
}
