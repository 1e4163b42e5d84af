//! The contract of `wit/plugin.wit` as Rust, generated.
//!
//! Parameters of the guest's export borrow: the document goes from the delivery's buffer straight into guest memory, copied once. Every
//! import may trap, because a run that asks for more than it may is ended and not answered. Only `once` waits (its intent is made
//! durable) and `http`.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "webhook-handler",
    imports: {
        "hookyard:plugin/once.begin": async | trappable,
        "hookyard:plugin/http.send": async | trappable,
        "hookyard:plugin/once.finish": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: false },
});
