//! Whether a component's exports have the shape of the contract, asked at admission.
//!
//! The linker compares the types of imports. The types of exports it compares only when an instance is made, which would turn a component
//! built against another `plugin.wit` into a fault of every delivery instead of one refusal. So the shape is written out and compared.

use wasmtime::{
    Engine,
    component::{
        Component,
        types::{ComponentFunc, ComponentItem, Type},
    },
};

use super::validate::LIFECYCLE;

/// `handle` of `hookyard:plugin/handler@0.1.0`.
const HANDLE: &str = "(delivery: record{id: string, provider-id: string, tenant: string, source: string, event: string, \
     action: option<string>, attempt: u32, generation: u32, received-at-ms: u64, started-at-ms: u64, sequence: u64, content-type: string, \
     headers: list<record{name: string, value: string}>, document: list<u8>, extensions: list<tuple<string, string>>}) -> \
     variant{ack, skip(string), retry(record{after-ms: option<u64>, reason: string}), reject(string)}";
/// `validate-config` of `hookyard:plugin/lifecycle@0.1.0`.
const VALIDATE: &str = "() -> result<_, list<string>>";
/// Types deeper than the contract's are another contract's.
const DEPTH_MAX: u32 = 8;
/// A shape is written only so far: shared types let a small file describe an immense one.
const SHAPE_BYTES_MAX: usize = 2048;

/// Compares what must be exported and what may be; the error tells both shapes.
pub(super) fn check(engine: &Engine, component: &Component) -> Result<(), String> {
    check_export(engine, component, ("hookyard:plugin/handler@", "handle", HANDLE))?;
    let ty = component.component_type();
    let validates = ty.exports(engine).any(|(name, _)| name.starts_with(LIFECYCLE));
    if validates { check_export(engine, component, (LIFECYCLE, "validate-config", VALIDATE)) } else { Ok(()) }
}

fn check_export(engine: &Engine, component: &Component, (interface, name, expected): (&str, &str, &str)) -> Result<(), String> {
    let ty = component.component_type();
    let instance = ty.exports(engine).find_map(|(export, item)| match item.ty {
        ComponentItem::ComponentInstance(instance) if export.starts_with(interface) => Some(instance),
        _ => None,
    });
    let export = instance.as_ref().and_then(|instance| instance.get_export(engine, name));
    let Some(ComponentItem::ComponentFunc(export)) = export.map(|export| export.ty) else {
        return Err(format!("its {interface}… exports no function `{name}`"));
    };
    let found = function(&export);
    if found == expected { Ok(()) } else { Err(format!("its `{name}` is {found}; expected {expected}: rebuild it against wit/plugin.wit")) }
}

fn function(function: &ComponentFunc) -> String {
    let mut out = String::from("(");
    each(&mut out, function.params(), |out, (name, ty)| {
        out.push_str(name);
        out.push_str(": ");
        shape(out, &ty, 0);
    });
    out.push_str(") -> ");
    each(&mut out, function.results(), |out, ty| shape(out, &ty, 0));
    if out.len() > SHAPE_BYTES_MAX {
        out.truncate((0..=SHAPE_BYTES_MAX).rev().find(|&i| out.is_char_boundary(i)).unwrap_or(0));
        out.push('…');
    }
    out
}

fn shape(out: &mut String, ty: &Type, depth: u32) {
    if depth > DEPTH_MAX {
        out.push('…');
        return;
    }
    let depth = depth + 1;
    match ty {
        Type::String => out.push_str("string"),
        Type::U8 => out.push_str("u8"),
        Type::U32 => out.push_str("u32"),
        Type::U64 => out.push_str("u64"),
        Type::List(list) => enclosed(out, "list<", '>', |out| shape(out, &list.ty(), depth)),
        Type::Option(option) => enclosed(out, "option<", '>', |out| shape(out, &option.ty(), depth)),
        Type::Tuple(tuple) => enclosed(out, "tuple<", '>', |out| each(out, tuple.types(), |out, ty| shape(out, &ty, depth))),
        Type::Record(record) => enclosed(out, "record{", '}', |out| {
            each(out, record.fields(), |out, field| {
                out.push_str(field.name);
                out.push_str(": ");
                shape(out, &field.ty, depth);
            });
        }),
        Type::Variant(variant) => enclosed(out, "variant{", '}', |out| {
            each(out, variant.cases(), |out, case| {
                out.push_str(case.name);
                if let Some(ty) = &case.ty {
                    enclosed(out, "(", ')', |out| shape(out, ty, depth));
                }
            });
        }),
        Type::Result(result) => enclosed(out, "result<", '>', |out| {
            let parts = [result.ok(), result.err()];
            each(out, parts.into_iter(), |out, part| match part {
                Some(ty) => shape(out, &ty, depth),
                None => out.push('_'),
            });
        }),
        // What the contract's function does not use needs no name: it only must not look like what it uses.
        _ => out.push_str("(another type)"),
    }
}

fn enclosed(out: &mut String, open: &str, close: char, inner: impl FnOnce(&mut String)) {
    out.push_str(open);
    inner(out);
    out.push(close);
}

fn each<T>(out: &mut String, items: impl Iterator<Item = T>, write: impl Fn(&mut String, T)) {
    for (i, item) in items.enumerate() {
        if out.len() > SHAPE_BYTES_MAX {
            return;
        }
        if i > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
}
