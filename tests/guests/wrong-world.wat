;; world: other
;; A component, but no plugin.
(func (export "run"))
