//! The files that each file uses, read from the source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

/// For each file, the files that it uses, and the names through which it uses them.
pub(crate) struct Graph {
    pub(crate) edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// For each file, the names of the methods that its code calls, without tests.
    pub(crate) calls: BTreeMap<String, BTreeSet<String>>,
}

/// A module: its file, and the meaning of its names.
#[derive(Default)]
struct Module {
    file: String,
    /// Modules, by their names.
    children: BTreeSet<String>,
    /// Types, functions, constants and macros that are defined here.
    items: BTreeSet<String>,
    /// Imported names: their paths from the root of the crate.
    imports: HashMap<String, Vec<String>>,
    /// The modules that are imported whole.
    globs: Vec<Vec<String>>,
    /// Paths in the code, in their written form. Re-exports are left out.
    mentions: Vec<Vec<String>>,
    /// The names of methods that are called.
    calls: BTreeSet<String>,
}

type Modules = HashMap<Vec<String>, Module>;

impl Graph {
    /// Reads the library in `src/` below `root`.
    pub(crate) fn of(root: &Path) -> Self {
        let mut modules = Modules::new();
        read(&root.join("src"), "lib.rs", Vec::new(), &mut modules);
        let mut edges: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        let mut calls = BTreeMap::new();
        for (path, module) in &modules {
            calls.insert(module.file.clone(), module.calls.clone());
            let used = edges.entry(module.file.clone()).or_default();
            for mention in &module.mentions {
                let Some(target) = resolve(&modules, path, mention, 0) else {
                    continue;
                };
                if target != module.file {
                    used.entry(target).or_default().insert(mention.join("::"));
                }
            }
        }
        Self { edges, calls }
    }

    /// The sets of files that depend on each other, each in alphabetical order.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<_, _> = self
            .edges
            .keys()
            .map(|file| (file, self.reach(file)))
            .collect();
        let mut circles = BTreeSet::new();
        for (file, reached) in &reach {
            if reached.contains(*file) {
                let circle = reached
                    .iter()
                    .filter(|other| reach.get(other).is_some_and(|it| it.contains(*file)));
                circles.insert(circle.cloned().collect::<BTreeSet<_>>());
            }
        }
        circles.into_iter().collect()
    }

    /// All files that can be reached from `file` by at least one step.
    fn reach(&self, file: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file.to_owned()];
        while let Some(next) = open.pop() {
            for target in self.edges.get(&next).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(target.clone()) {
                    open.push(target.clone());
                }
            }
        }
        reached
    }
}

/// Reads one file and the modules that it declares.
fn read(src: &Path, file: &str, path: Vec<String>, modules: &mut Modules) {
    let text = fs::read_to_string(src.join(file)).unwrap();
    let parsed = syn::parse_file(&text).unwrap();
    let mut module = Module {
        file: file.to_owned(),
        ..Module::default()
    };
    let folder = match file {
        "lib.rs" => String::new(),
        _ => file.strip_suffix("mod.rs").map_or_else(
            || format!("{}/", file.trim_end_matches(".rs")),
            str::to_owned,
        ),
    };
    for item in &parsed.items {
        collect(item, &path, &mut module);
        if let Item::Mod(child) = item {
            let name = child.ident.to_string();
            if child.content.is_none() && !is_test(&child.attrs) {
                let plain = format!("{folder}{name}.rs");
                let nested = format!("{folder}{name}/mod.rs");
                let file = if src.join(&plain).exists() {
                    plain
                } else {
                    nested
                };
                let mut path = path.clone();
                path.push(name);
                read(src, &file, path, modules);
            }
        }
    }
    modules.insert(path, module);
}

/// Records the names that an item defines and mentions.
fn collect(item: &Item, path: &[String], module: &mut Module) {
    let attributes = match item {
        Item::Mod(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        Item::Const(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        _ => &Vec::new(),
    };
    if is_test(attributes) {
        return;
    }
    match item {
        Item::Mod(it) => {
            module.children.insert(it.ident.to_string());
        }
        Item::Use(it) => {
            let is_export = !matches!(it.vis, Visibility::Inherited);
            import(&it.tree, Vec::new(), path, is_export, module);
            return;
        }
        Item::Fn(it) => define(&it.sig.ident, module),
        Item::Const(it) => define(&it.ident, module),
        Item::Static(it) => define(&it.ident, module),
        Item::Struct(it) => define(&it.ident, module),
        Item::Enum(it) => define(&it.ident, module),
        Item::Type(it) => define(&it.ident, module),
        Item::Trait(it) => define(&it.ident, module),
        Item::Macro(it) => {
            // A macro may define items: any identifier in it counts as defined.
            let names = it.ident.iter().map(ToString::to_string);
            module.items.extend(names);
            identifiers(it.mac.tokens.clone(), &mut module.items);
        }
        _ => {}
    }
    let mut mentions = Mentions {
        paths: &mut module.mentions,
        calls: &mut module.calls,
    };
    mentions.visit_item(item);
}

fn define(name: &syn::Ident, module: &mut Module) {
    module.items.insert(name.to_string());
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string().starts_with("test")
            || list.path.is_ident("cfg") && list.tokens.to_string() == "doctest"
    })
}

fn import(
    tree: &UseTree,
    mut prefix: Vec<String>,
    path: &[String],
    is_export: bool,
    module: &mut Module,
) {
    match tree {
        UseTree::Path(it) => {
            prefix.push(it.ident.to_string());
            import(&it.tree, prefix, path, is_export, module);
        }
        UseTree::Group(it) => {
            for tree in &it.items {
                import(tree, prefix.clone(), path, is_export, module);
            }
        }
        UseTree::Glob(_) => {
            if let Some(target) = absolute(&prefix, path) {
                module.globs.push(target);
            }
        }
        UseTree::Name(_) | UseTree::Rename(_) => {
            let (name, alias) = match tree {
                UseTree::Rename(it) => (it.ident.to_string(), it.rename.to_string()),
                UseTree::Name(it) => (it.ident.to_string(), it.ident.to_string()),
                _ => unreachable!(),
            };
            let alias = match name.as_str() {
                "self" => match alias.as_str() {
                    "self" => prefix.last().cloned().unwrap_or_default(),
                    _ => alias,
                },
                _ => {
                    prefix.push(name);
                    alias
                }
            };
            let Some(target) = absolute(&prefix, path) else {
                return;
            };
            if !is_export {
                module.mentions.push(prefix);
            }
            module.imports.insert(alias, target);
        }
    }
}

/// The path from the root, if it leads into this crate by its first word.
fn absolute(path: &[String], own: &[String]) -> Option<Vec<String>> {
    let mut result;
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            result = Vec::new();
            rest = &rest[1..];
        }
        "self" => {
            result = own.to_vec();
            rest = &rest[1..];
        }
        "super" => {
            result = own.to_vec();
            while rest.first().is_some_and(|word| word == "super") {
                result.pop();
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    result.extend_from_slice(rest);
    Some(result)
}

/// The file that defines the name `mention` in the module `own`.
fn resolve(modules: &Modules, own: &[String], mention: &[String], depth: usize) -> Option<String> {
    let module = modules.get(own)?;
    let target = match absolute(mention, own) {
        Some(target) => target,
        None => {
            // The first word is an imported name, a module below this one, or something of another crate.
            let (first, rest) = mention.split_first()?;
            let mut target = match module.imports.get(first) {
                Some(imported) => imported.clone(),
                None if module.children.contains(first) && !rest.is_empty() => {
                    let mut target = own.to_vec();
                    target.push(first.clone());
                    target
                }
                None => return None,
            };
            target.extend_from_slice(rest);
            target
        }
    };
    find(modules, &target, depth)
}

fn find(modules: &Modules, target: &[String], depth: usize) -> Option<String> {
    if depth > 20 {
        return None;
    }
    let mut at = Vec::new();
    for (index, word) in target.iter().enumerate() {
        let module = modules.get(&at)?;
        let rest = &target[index + 1..];
        if module.items.contains(word) && !module.children.contains(word) {
            return Some(module.file.clone());
        }
        let mut child = at.clone();
        child.push(word.clone());
        if modules.contains_key(&child) {
            at = child;
            continue;
        }
        if let Some(imported) = module.imports.get(word) {
            let mut target = imported.clone();
            target.extend_from_slice(rest);
            return find(modules, &target, depth + 1);
        }
        for glob in &module.globs {
            let mut target = glob.clone();
            target.extend_from_slice(&target_rest(word, rest));
            if let Some(file) = find(modules, &target, depth + 1) {
                return Some(file);
            }
        }
        return None;
    }
    // A module itself: importing it uses nothing yet.
    None
}

fn target_rest(word: &str, rest: &[String]) -> Vec<String> {
    std::iter::once(word.to_owned())
        .chain(rest.iter().cloned())
        .collect()
}

/// Collects all paths of an item, also those in the arguments of macros.
struct Mentions<'a> {
    paths: &'a mut Vec<Vec<String>>,
    calls: &'a mut BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words = path.segments.iter().map(|it| it.ident.to_string());
        self.paths.push(words.collect());
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.calls.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        paths_in(call.tokens.clone(), self.paths);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A `use` inside of a function.
        fn walk(tree: &UseTree, mut prefix: Vec<String>, paths: &mut Vec<Vec<String>>) {
            match tree {
                UseTree::Path(it) => {
                    prefix.push(it.ident.to_string());
                    walk(&it.tree, prefix, paths);
                }
                UseTree::Group(it) => it
                    .items
                    .iter()
                    .for_each(|tree| walk(tree, prefix.clone(), paths)),
                UseTree::Name(it) => {
                    prefix.push(it.ident.to_string());
                    paths.push(prefix);
                }
                UseTree::Rename(it) => {
                    prefix.push(it.ident.to_string());
                    paths.push(prefix);
                }
                UseTree::Glob(_) => {}
            }
        }
        walk(&item.tree, Vec::new(), self.paths);
    }
}

/// The paths among tokens: words that are joined by `::`.
fn paths_in(tokens: TokenStream, paths: &mut Vec<Vec<String>>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_colon = |index: usize| matches!(tokens.get(index), Some(TokenTree::Punct(it)) if it.as_char() == ':');
    let mut index = 0;
    while index < tokens.len() {
        match &tokens[index] {
            TokenTree::Group(group) => paths_in(group.stream(), paths),
            TokenTree::Ident(word) => {
                let mut path = vec![word.to_string()];
                while is_colon(index + 1) && is_colon(index + 2) {
                    let Some(TokenTree::Ident(next)) = tokens.get(index + 3) else {
                        break;
                    };
                    path.push(next.to_string());
                    index += 3;
                }
                paths.push(path);
            }
            _ => {}
        }
        index += 1;
    }
}

fn identifiers(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => identifiers(group.stream(), names),
            TokenTree::Ident(word) => {
                names.insert(word.to_string());
            }
            _ => {}
        }
    }
}
