;; Sets fifteen values of 64 KiB, as much as one run may write; then acks.
(import "hookyard:plugin/kv@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (local $i i32) (local $value i32)
  (local.set $value (i32.mul (memory.grow $memory (i32.const 1)) (i32.const 65536)))
  (memory.fill $memory (local.get $value) (i32.const 0x61) (i32.const 65536))
  (loop $values
    (i32.store8 $memory (i32.const 0) (i32.add (i32.const 0x61) (local.get $i)))
    (call $set (i32.const 0) (i32.const 1) (local.get $value) (i32.const 65536) (i32.const 0) (i64.const 0) (i32.const 256))
    (if (i32.load8_u $memory (i32.const 256)) (then (unreachable)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $values (i32.lt_u (local.get $i) (i32.const 15))))
  (call $ack))
