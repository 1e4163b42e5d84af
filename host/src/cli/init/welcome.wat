;; Logs which event came, and acknowledges it.
(module
  (import "hookyard:plugin/log@0.1.0" "write" (func $log (param $level i32) (param $text i32) (param $bytes i32) (param $fields i32) (param $count i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "welcome: handled the event ")
  ;; 0 to 27 holds the words, 128 to 143 the verdict; what the host hands in begins at 4096.
  (global $heap (mut i32) (i32.const 4096))

  ;; Never frees: an instance lives for one delivery.
  (func $allocate (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))

  ;; The event's name stands at 32 of a delivery, its length at 36.
  (func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
    (local $text i32) (local $name_bytes i32)
    (local.set $name_bytes (i32.load offset=36 (local.get $delivery)))
    (local.set $text (call $allocate (i32.const 0) (i32.const 0) (i32.const 1) (i32.add (i32.const 27) (local.get $name_bytes))))
    (memory.copy (local.get $text) (i32.const 0) (i32.const 27))
    (memory.copy (i32.add (local.get $text) (i32.const 27)) (i32.load offset=32 (local.get $delivery)) (local.get $name_bytes))
    ;; Level 2 is `info`; without fields.
    (call $log (i32.const 2) (local.get $text) (i32.add (i32.const 27) (local.get $name_bytes)) (i32.const 0) (i32.const 0))
    ;; The case of a verdict stands first: 0 is `ack`.
    (i32.store (i32.const 128) (i32.const 0))
    (i32.const 128)))
