//! Typed collections, on SecantusDB behind the bench, or on the bench alone where a server must misbehave.

mod administration;
mod bulk;
mod examples;
mod explaining;
mod memory;
mod parity;
mod readme;
mod reads;
pub(crate) mod rejections;
mod settings;
mod source;
mod writes;
mod written;

/// Fails unless `docs/crud.md` shows all examples between their marks in `source`, which are `number` in all.
fn expect_in_guide(source: &str, number: usize) {
    expect_in(include_str!("../../docs/crud.md"), source, number);
}

/// As [`expect_in_guide`], for another page.
fn expect_in(page: &str, source: &str, number: usize) {
    let without_spaces = |text: &str| {
        let text: String = text.split_whitespace().collect();
        // rustfmt may add a comma when it breaks a line.
        text.replace(",)", ")")
            .replace(",]", "]")
            .replace(",}", "}")
    };
    let guide = without_spaces(page);
    let examples = source.split("    // example\n").skip(1);
    let examples = examples.filter_map(|rest| Some(rest.split_once("// end\n")?.0));
    let examples: Vec<&str> = examples.collect();
    assert_eq!(examples.len(), number);
    for example in examples {
        assert!(
            guide.contains(&without_spaces(example)),
            "not in the guide: {example}"
        );
    }
}
