//! The same in JavaScript: what needs jco, and is skipped where there is none.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use super::{Desk, code, data, in_path, skip, words};

#[test]
fn a_new_javascript_plugin_says_what_it_needs_then_builds_and_follows_every_change() {
    let desk = Desk::new();
    assert!(desk.run(&["plugin", "new", "sizes", "--lang", "js"]).status.success());
    let bare = desk.command(&["plugin", "build", "sizes"]).env("PATH", "/nowhere").output().expect("the program runs");
    assert_eq!(code(&bare), 1);
    assert!(words(&bare).contains("hint: `npm install`"), "{}", words(&bare));
    if !in_path("jco") {
        return skip("jco");
    }

    if in_path("tsc") {
        let types = Command::new("tsc").args(["-p", "jsconfig.json"]).current_dir(desk.path("sizes")).output().expect("the compiler runs");
        assert!(types.status.success(), "{}", data(&types));
    }
    let test = desk.run(&["plugin", "test", "sizes"]);
    assert_eq!(code(&test), 0, "{}\n{}", data(&test), words(&test));
    assert!(words(&test).contains("asks for config, http, log"), "it asks for what its source names: {}", words(&test));
    assert!(data(&test).contains("2 passed, 0 failed"), "{}", data(&test));

    let mut dev =
        desk.command(&["plugin", "dev", "sizes"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut said = BufReader::new(dev.stderr.take().expect("a pipe")).lines();
    let mut shown = BufReader::new(dev.stdout.take().expect("a pipe")).lines();
    let until = |lines: &mut dyn Iterator<Item = std::io::Result<String>>, part: &str| {
        let found = lines.map(|line| line.expect("text")).find(|line| line.contains(part));
        assert!(found.is_some(), "it ended without {part:?}");
    };
    let handler = desk.path("sizes/handler.js");
    let source = fs::read_to_string(&handler).expect("the handler");
    until(&mut shown, "2 passed, 0 failed");
    until(&mut said, "watching");
    fs::write(&handler, source.replace("export const handler", "export const handler = {")).expect("a file");
    until(&mut said, "handler.js changed");
    until(&mut said, "error: ");
    until(&mut said, "watching");
    fs::write(&handler, source.replace("few enough", "not many")).expect("a file");
    until(&mut shown, "FAIL  small");
    until(&mut shown, "1 passed, 1 failed");
    let pid = dev.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    until(&mut said, "stopped");
    assert!(dev.wait().expect("it ends").success(), "Ctrl-C is its good end");
}

#[test]
fn what_a_javascript_plugin_throws_is_the_reason_and_its_console_never_throws() {
    if !in_path("jco") {
        return skip("jco");
    }
    let desk = Desk::new();
    assert!(desk.run(&["plugin", "new", "thrower", "--lang", "js"]).status.success());
    let handler = |body: &str| format!("export const handler = {{\n  handle(delivery) {{\n    {body}\n  }},\n}};\n");
    let run = |body: &str| {
        fs::write(desk.path("thrower/handler.js"), handler(body)).expect("a file");
        let built = desk.run(&["plugin", "build", "thrower"]);
        assert_eq!(code(&built), 0, "{}", words(&built));
        let run = desk.run(&["plugin", "run", "thrower/thrower.wasm", "--event", "pull_request"]);
        (code(&run), data(&run) + &words(&run))
    };
    let console =
        "console.log(1n, new Error(\"boom\")); const a = {}; a.a = a; console.log(a); console.table([a]); return { tag: \"ack\" };";
    let (status, said) = run(console);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("1n Error: boom") && said.contains("[seen above]"), "{said}");
    let (status, said) = run("undefinedFunction();");
    assert_eq!(status, 70, "{said}");
    assert!(said.contains("ReferenceError") && said.contains("undefinedFunction") && said.contains("handler.js:3"), "{said}");
    // What the contract calls optional may be left out.
    let source = "import { set, get } from \"hookyard:plugin/kv@0.1.0\";\nimport * as log from \"hookyard:plugin/log@0.1.0\";\n\
                  export const handler = {\n  handle() {\n    set(\"seen\", new TextEncoder().encode(\"once\"));\n    \
                  log.write(\"info\", new TextDecoder().decode(get(\"seen\")));\n    return { tag: \"ack\" };\n  },\n};\n";
    fs::write(desk.path("thrower/handler.js"), source).expect("a file");
    let built = desk.run(&["plugin", "build", "thrower"]);
    assert_eq!(code(&built), 0, "{}", words(&built));
    let kept = desk.run(&["plugin", "run", "thrower/thrower.wasm", "--event", "pull_request"]);
    assert_eq!(code(&kept), 0, "{}{}", data(&kept), words(&kept));
    assert!((data(&kept) + &words(&kept)).contains("once"), "{}{}", data(&kept), words(&kept));
    let (status, said) = run("return Promise.resolve({ tag: \"ack\" });");
    assert_eq!(status, 70, "{said}");
    assert!(said.contains("`handle` is async"), "{said}");
}
