//! Writes `docs/compliance.md`, and says what is still missing.

use polypath_compliance::{Compliance, DOCUMENT, Standing};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match run(&root) {
        Ok(complete) => ExitCode::from(u8::from(!complete)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// True: no row is incomplete (a gap that is named is not).
fn run(root: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let all = Compliance::read(root)?;
    let document = root.join(DOCUMENT);
    std::fs::write(&document, all.document()).map_err(|e| format!("{}: {e}", document.display()))?;
    for r in all.catalogue.requirements() {
        if let Standing::Gap(what) = &r.standing {
            println!("{} ({}): {what}", r.id, r.level.word());
        }
    }
    let counts = all.counts();
    println!("{} shown, {} declined, {} gaps", counts.shown, counts.declined, counts.gaps);
    let mistakes = all.mistakes();
    for mistake in &mistakes {
        eprintln!("{mistake}");
    }
    Ok(mistakes.is_empty())
}
