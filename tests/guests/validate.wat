;; world: validating
;; Tells whether it can work with its configuration: the first letter of `mode` is o (it can), b (it objects), t (it traps), l (it loops).
;; Sets a value first, which must lead nowhere.
(import "hookyard:plugin/config@0.1.0" "get" (func $get (param i32 i32 i32)))
(import "hookyard:plugin/kv@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))
(data (memory $memory) (i32.const 0) "modemode is none of those it knows")
(func (export "hookyard:plugin/lifecycle@0.1.0#validate-config") (result i32)
  (local $mode i32)
  (call $set (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 0) (i32.const 256))
  (call $get (i32.const 0) (i32.const 4) (i32.const 256))
  (if (i32.load8_u $memory (i32.const 256)) (then (local.set $mode (i32.load8_u $memory (i32.load $memory (i32.const 260))))))
  (if (i32.eq (local.get $mode) (i32.const 116)) (then (unreachable)))
  (if (i32.eq (local.get $mode) (i32.const 108)) (then (loop $forever (br $forever))))
  ;; The result at 320, its list at 340: one text of 30 bytes at 4.
  (i32.store8 $memory (i32.const 320) (i32.eq (local.get $mode) (i32.const 98)))
  (i32.store $memory (i32.const 324) (i32.const 340))
  (i32.store $memory (i32.const 328) (i32.const 1))
  (i32.store $memory (i32.const 340) (i32.const 4))
  (i32.store $memory (i32.const 344) (i32.const 30))
  (i32.const 320))
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $ack))
