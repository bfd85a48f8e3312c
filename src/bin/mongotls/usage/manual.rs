//! The manual page, in the language of the macros `man` (groff_man(7)).

use std::fmt::Write;

use super::{ARGUMENTS, COMMANDS, EXIT_CODES, HELP, Opt, SECRETS, SUMMARY, VARIABLES, VERSION};

/// The page, for `man -l -` or as a file `mongotls.1`.
pub(super) fn page() -> String {
    let mut page = Page(format!(
        ".TH MONGOTLS 1 \"\" \"mongotls {}\" \"User Commands\"\n",
        env!("CARGO_PKG_VERSION")
    ));
    page.section("NAME");
    page.text(&format!("mongotls - {SUMMARY}"));
    page.section("SYNOPSIS");
    for (index, command) in COMMANDS.iter().enumerate() {
        if index > 0 {
            page.request(".br");
        }
        page.text(&command.usage());
    }
    page.section("DESCRIPTION");
    page.text(
        "mongotls connects to a MongoDB deployment, runs commands on it, and explains failures.",
    );
    page.request(".PP");
    page.text(SECRETS);
    page.section("ARGUMENTS");
    for (name, about) in ARGUMENTS {
        page.entry(name, about);
    }
    page.section("OPTIONS");
    page.text("The options of each command are below. These work everywhere:");
    page.option(&HELP);
    page.option(&VERSION);
    page.section("COMMANDS");
    for command in &COMMANDS {
        page.subsection(&command.usage());
        page.text(command.about);
        for option in command.options {
            page.option(option);
        }
        let meanings = command.exit_codes.iter().enumerate();
        let meanings: Vec<String> = meanings
            .filter(|(_, meaning)| !meaning.is_empty())
            .map(|(code, meaning)| format!("{code}: {meaning}"))
            .collect();
        page.request(".PP");
        page.text(&format!("Exit codes: {}.", meanings.join("; ")));
    }
    page.section("EXIT STATUS");
    for (code, meaning) in EXIT_CODES.iter().enumerate() {
        page.entry(&code.to_string(), meaning);
    }
    page.section("ENVIRONMENT");
    for (name, about) in VARIABLES {
        page.entry(name, about);
    }
    page.0.trim_end().to_owned()
}

struct Page(String);

impl Page {
    fn section(&mut self, title: &str) {
        _ = writeln!(self.0, ".SH {title}");
    }

    fn subsection(&mut self, title: &str) {
        _ = writeln!(self.0, ".SS \"{}\"", escaped(title));
    }

    fn request(&mut self, request: &str) {
        _ = writeln!(self.0, "{request}");
    }

    fn option(&mut self, option: &Opt) {
        self.entry(option.head().trim_start(), option.about);
    }

    /// Adds a name in bold type, and its description below it.
    fn entry(&mut self, name: &str, about: &str) {
        _ = writeln!(self.0, ".TP\n.B \"{}\"", escaped(name));
        self.text(about);
    }

    fn text(&mut self, text: &str) {
        let text = escaped(text);
        // A full stop or an apostrophe at the start of a line would start a request.
        let guard = if text.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        _ = writeln!(self.0, "{guard}{text}");
    }
}

/// Escapes a text so that it is printed unchanged. `-` remains a plain hyphen that can be copied into a shell.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('"', "\\(dq")
        .replace('\'', "\\(aq")
        .replace('~', "\\(ti")
}
