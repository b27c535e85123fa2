package delivery

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// The cursor behaves as a set of positions, also after it was stored and read.
func TestCursorIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cursor{}
		model := map[uint64]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "ops") {
			switch rapid.IntRange(0, 19).Draw(t, "op") {
			case 0:
				pos := c.floor + rapid.Uint64Range(0, 200).Draw(t, "jump")
				c.jump(pos)
				for p := uint64(1); p <= pos; p++ {
					model[p] = true
				}
			case 1:
				d, err := decodeCursor(c.encode())
				if err != nil {
					t.Fatal(err)
				}
				c = d
			default:
				pos := c.floor + rapid.Uint64Range(1, 150).Draw(t, "pos")
				c.done(pos)
				model[pos] = true
			}
			floor := uint64(0)
			for model[floor+1] {
				floor++
			}
			if c.floor != floor {
				t.Fatalf("floor %d, want %d", c.floor, floor)
			}
			for p := floor; p < floor+400; p++ {
				if p > 0 && c.isDone(p) != model[p] {
					t.Fatalf("position %d: done=%v, want %v (floor %d)", p, c.isDone(p), model[p], floor)
				}
			}
		}
	})
}

func TestCursorRefusesDamage(t *testing.T) {
	for _, b := range [][]byte{{0}, {cursorMagic}, {cursorMagic, 0x80}, {cursorMagic, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		if _, err := decodeCursor(b); !errors.Is(err, errCursor) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	c := &cursor{}
	c.done(5)
	c.done(70)
	f.Add(c.encode())
	f.Add([]byte{cursorMagic, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 16 {
			return // runs are bounded by what we write ourselves; keep the memory of one run small
		}
		c, err := decodeCursor(b)
		if err != nil {
			return
		}
		d, err := decodeCursor(c.encode())
		if err != nil || d.floor != c.floor {
			t.Fatalf("%v %v: %v", c, d, err)
		}
	})
}
