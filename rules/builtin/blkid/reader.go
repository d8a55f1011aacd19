package blkid

import (
	"errors"
	"io"
)

// reader reads pieces of a device and keeps them. What reaches beyond the end is not there; an error of the device
// stays and ends the examination.
type reader struct {
	src    io.ReaderAt
	size   int64
	err    error
	chunks []chunk
}

type chunk struct {
	off  int64
	data []byte
}

const (
	page = 4 << 10
	// head is read at once: most signatures are in it.
	head = 72 << 10
	// most bounds one piece.
	most = 1 << 20
)

// buf returns n bytes at off, or nil. They must not be changed.
func (r *reader) buf(off int64, n int) []byte {
	if r.err != nil || off < 0 || n <= 0 || n > most || off > r.size || int64(n) > r.size-off {
		return nil
	}
	for i := range r.chunks {
		if c := &r.chunks[i]; off >= c.off && off+int64(n) <= c.off+int64(len(c.data)) {
			return c.data[off-c.off:][:n:n]
		}
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
	m, err := r.src.ReadAt(data, start)
	if err != nil && !errors.Is(err, io.EOF) {
		if start+int64(m) < off+int64(n) {
			r.err = err
			return nil
		}
	}
	data = data[:m]
	if off+int64(n) > start+int64(m) {
		return nil
	}
	r.chunks = append(r.chunks, chunk{start, data})
	return data[off-start:][:n:n]
}
