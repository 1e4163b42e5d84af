;; The boot's self-test: a component that never comes back. `selftest.rs` holds its encoding; without names, which are bytes too.
(component
  (core module (func (export "spin") (loop (br 0))))
  (core instance (instantiate 0))
  (alias core export 0 "spin" (core func))
  (type (func))
  (func (type 0) (canon lift (core func 0)))
  (export "spin" (func 0)))
