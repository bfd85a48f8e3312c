//! The scripts that complete a command line in a shell.

use std::fmt::Write;

use super::{COMMANDS, HELP, Opt, Subcommand, VERSION};

/// A shell that is supported by the completions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "bash" => Self::Bash,
            "zsh" => Self::Zsh,
            "fish" => Self::Fish,
            _ => return None,
        })
    }

    pub(super) fn script(self) -> String {
        match self {
            Self::Bash => bash(),
            Self::Zsh => zsh(),
            Self::Fish => fish(),
        }
    }
}

/// The fixed words that may follow a command.
fn words(command: &Subcommand) -> String {
    match command.name {
        "completions" => "bash zsh fish".to_owned(),
        "help" => command_names(),
        _ => String::new(),
    }
}

fn command_names() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    names.join(" ")
}

/// The spellings of an option.
fn spellings(option: &Opt) -> Vec<String> {
    let short = option.short.map(|short| format!("-{short}"));
    short
        .into_iter()
        .chain([format!("--{}", option.long)])
        .collect()
}

fn bash() -> String {
    let options = || COMMANDS.iter().flat_map(|command| command.options);
    let taking = |file| {
        let options =
            options().filter(|option| option.value.is_some_and(|value| value.is_file == file));
        let mut names: Vec<String> = options.flat_map(spellings).collect();
        names.sort();
        names.dedup();
        names.join("|")
    };
    let mut commands = String::new();
    for command in &COMMANDS {
        let mut all: Vec<String> = command
            .options
            .iter()
            .map(|option| format!("--{}", option.long))
            .collect();
        all.push(format!("--{}", HELP.long));
        let words = format!("{} {}", words(command), all.join(" "));
        _ = writeln!(
            commands,
            "        {}) words='{}' ;;",
            command.name,
            words.trim_start()
        );
    }
    let takes_files: Vec<&str> = COMMANDS
        .iter()
        .filter(|command| command.takes_files())
        .map(|command| command.name)
        .collect();
    format!(
        "\
# Completions of mongotls for bash. Usage: source <(mongotls completions bash)
_mongotls() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command= words= index
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
        {names}) command=${{COMP_WORDS[index]}}; break ;;
        esac
    done
    case ${{COMP_WORDS[COMP_CWORD - 1]}} in
        {files}) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;
        {values}) COMPREPLY=(); return ;;
    esac
    case $command in
        '') words='{all} --{help} --{version}' ;;
{commands}    esac
    if [[ $command == {takes_files} && $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")
    else
        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")
    fi
}}
complete -o filenames -F _mongotls mongotls",
        names = command_names().replace(' ', "|"),
        all = command_names(),
        files = taking(true),
        values = taking(false),
        help = HELP.long,
        version = VERSION.long,
        takes_files = takes_files.join("|"),
    )
}

fn zsh() -> String {
    let option = |option: &Opt| {
        let about = zsh_quoted(option.about);
        let value = match option.value {
            Some(value) if value.is_file => format!(":{}:_files", value.name),
            Some(value) => format!(":{}: ", value.name.replace(':', "\\:")),
            None => String::new(),
        };
        match &spellings(option)[..] {
            [short, long] => format!("'({short} {long})'{{{short},{long}}}'[{about}]{value}'"),
            long => format!("'{}[{about}]{value}'", long.concat()),
        }
    };
    let (mut names, mut cases) = (String::new(), String::new());
    for command in &COMMANDS {
        _ = writeln!(
            names,
            "        '{}:{}'",
            command.name,
            zsh_quoted(command.summary)
        );
        let mut arguments: Vec<String> = command.options.iter().map(option).collect();
        arguments.push(option(&HELP));
        let words = words(command);
        arguments.push(match words.is_empty() {
            false => format!("'1:argument:({words})'"),
            true if command.takes_files() => "'*:FILE:_files'".to_owned(),
            true => "'*:argument: '".to_owned(),
        });
        let arguments = arguments.join(" \\\n                ");
        _ = writeln!(
            cases,
            "            {})\n                _arguments {arguments} ;;",
            command.name
        );
    }
    format!(
        "\
#compdef mongotls
# Completions of mongotls for zsh. Usage: write it to a file _mongotls in a folder of $fpath
_mongotls() {{
    local context state state_descr line
    typeset -A opt_args
    local -a commands
    commands=(
{names}    )
    _arguments -C \\
        {help} \\
        {version} \\
        '1:command:->command' \\
        '*::argument:->argument'
    case $state in
    command) _describe command commands ;;
    argument)
        case $words[1] in
{cases}        esac ;;
    esac
}}
if [ \"$funcstack[1]\" = _mongotls ]; then
    _mongotls \"$@\"
else
    compdef _mongotls mongotls
fi",
        help = option(&HELP),
        version = option(&VERSION),
    )
}

/// Escapes a text for single quotes in which a colon and brackets have a meaning.
fn zsh_quoted(text: &str) -> String {
    let text = text
        .replace(':', "\\:")
        .replace('[', "\\[")
        .replace(']', "\\]");
    text.replace('\'', "'\\''")
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let option = |option: &Opt| {
        let short = option
            .short
            .map_or(String::new(), |short| format!(" -s {short}"));
        let value = match option.value {
            Some(value) if value.is_file => " -r -F",
            Some(_) => " -x",
            None => "",
        };
        format!(
            "{short} -l {}{value} -d '{}'",
            option.long,
            quoted(option.about)
        )
    };
    let mut script = String::from(
        "\
# Completions of mongotls for fish. Usage: write it to ~/.config/fish/completions/mongotls.fish
complete -c mongotls -f
",
    );
    for general in [HELP, VERSION] {
        _ = writeln!(
            script,
            "complete -c mongotls -n __fish_use_subcommand{}",
            option(&general)
        );
    }
    for command in &COMMANDS {
        let Subcommand { name, summary, .. } = command;
        let after = format!("complete -c mongotls -n '__fish_seen_subcommand_from {name}'");
        let summary = quoted(summary);
        _ = writeln!(
            script,
            "complete -c mongotls -n __fish_use_subcommand -a {name} -d '{summary}'"
        );
        for own in command.options.iter().chain([&HELP]) {
            _ = writeln!(script, "{after}{}", option(own));
        }
        if command.takes_files() {
            _ = writeln!(script, "{after} -F");
        }
        let words = words(command);
        if !words.is_empty() {
            _ = writeln!(script, "{after} -a '{words}'");
        }
    }
    script.trim_end().to_owned()
}
