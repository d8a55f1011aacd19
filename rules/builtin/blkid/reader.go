package blkid

import (
	"errors"
	"io"
)

// reader reads pieces of a device and keeps them. What reaches beyond the end is not there; an error of the device
// stays and ends the examination.
type reader struct {
	src     io.ReaderAt
	size    int64
	err     error
	chunks  []chunk // the youngest last
	spent   int64   // bytes read so far
	scratch []byte
	small   [24]byte
	late    error
}

type chunk struct {
	off  int64
	data []byte
}

const (
	page = 4 << 10
	// head is read at once: most signatures are in it.
	head = 72 << 10
	// most bounds one piece, allowance all of them together: a format that sends its reader round in circles is none.
	most      = 1 << 20
	allowance = 32 << 20
	keep      = 24
)

// buf returns n bytes at off, or nil. They must not be changed.
func (r *reader) buf(off int64, n int) []byte {
	if r.err != nil || off < 0 || n <= 0 || n > most || off > r.size || int64(n) > r.size-off {
		return nil
	}
	if b := r.kept(off, n); b != nil {
		return b
	}
	start := off &^ (page - 1)
	end := (off + int64(n) + page - 1) &^ (page - 1)
	if start == 0 && end < head {
		end = head
	} else if start < head && end <= head {
		start, end = 0, head
	}
	end = min(end, r.size)
	data := make([]byte, end-start)
	m := r.read(data, start)
	if off+int64(n) > start+int64(m) {
		if r.err == nil && int64(m) < end-start {
			r.err = r.late
		}
		return nil
	}
	if len(r.chunks) == keep { // the head, which is the oldest, stays
		r.chunks = append(r.chunks[:1], r.chunks[2:]...)
	}
	r.chunks = append(r.chunks, chunk{start, data[:m]})
	return data[off-start:][:n:n]
}

// kept returns n bytes at off when they have been read before.
func (r *reader) kept(off int64, n int) []byte {
	for i := len(r.chunks) - 1; i >= 0; i-- {
		if c := &r.chunks[i]; off >= c.off && off+int64(n) <= c.off+int64(len(c.data)) {
			return c.data[off-c.off:][:n:n]
		}
	}
	return nil
}

// holds says whether the text is at off. A place away from the head is looked at without keeping what is around it: most
// signatures are not there.
func (r *reader) holds(off int64, text string) bool {
	n := len(text)
	if off < head || n > len(r.small) {
		return string(r.buf(off, n)) == text
	}
	if r.err != nil || int64(n) > r.size-off {
		return false
	}
	b := r.kept(off, n)
	if b == nil {
		b = r.small[:n]
		if r.read(b, off) < n {
			r.err = r.late
			return false
		}
	}
	return string(b) == text
}

// read fills b from off and returns how much of it is there. An error stays in late: it counts when what is missing was
// asked for.
func (r *reader) read(b []byte, off int64) int {
	if r.spent += int64(len(b)); r.spent > allowance {
		return 0
	}
	n, err := r.src.ReadAt(b, off)
	r.late = nil
	if err != nil && !errors.Is(err, io.EOF) {
		r.late = err
	}
	return n
}

// each hands the n bytes at off to f in steps, until f says false; none of them is kept. It says whether all are there.
func (r *reader) each(off int64, n, step int, f func(b []byte) bool) bool {
	if r.err != nil || off < 0 || off > r.size || int64(n) > r.size-off {
		return false
	}
	if r.scratch == nil {
		r.scratch = make([]byte, 32<<10)
	}
	for n > 0 {
		b := r.scratch[:min(n, len(r.scratch))]
		if m := r.read(b, off); m < len(b) {
			r.err = r.late
			return false
		}
		for i := 0; i+step <= len(b); i += step {
			if !f(b[i : i+step]) {
				return true
			}
		}
		off += int64(len(b))
		n -= len(b)
	}
	return true
}
