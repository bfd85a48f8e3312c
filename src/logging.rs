//! The macros of `log`, with external text made printable: one call writes one line, which external text cannot
//! forge.
//!
//! No code in this crate calls the macros of `log` directly; a test checks that.

macro_rules! logging {
    ($d:tt $($name:ident as $own:ident)*) => {
        $(
            macro_rules! $own {
                (target: $d target:expr, $d($d rest:tt)+) => {
                    ::log::$name!(target: $d target, "{}", $crate::printable::Printable(format_args!($d($d rest)+)))
                };
            }
            pub(crate) use $own as $name;
        )*
    };
}

// The inner names differ, because one of the outer names is also a lint attribute.
logging!($ debug as log_debug error as log_error info as log_info warn as log_warn);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn visit(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if !path.ends_with("logging.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = ["debug", "error", "info", "trace", "warn"];
                let is_raw = |line: &str| {
                    let calls = names
                        .iter()
                        .any(|name| line.contains(&format!("log::{name}!(")));
                    let imports = line.trim_start().starts_with("use log::")
                        && names.iter().any(|name| line.contains(name));
                    calls || imports
                };
                let lines = text.lines().filter(|line| is_raw(line));
                found.extend(lines.map(|line| format!("{}: {line}", path.display())));
            }
        }
    }

    #[test]
    fn every_line_of_the_log_is_made_printable() {
        let mut found = Vec::new();
        visit(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert_eq!(found, [""; 0]);
    }
}
