package modload

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// Compression is the format of a module's file. It is told by the file's first bytes, never by its name: kmod does the same, and a
// distribution's hook may have compressed a file in place.
type Compression uint8

const (
	Uncompressed Compression = iota
	Gzip
	XZ
	Zstd
)

// String is the format as the kernel spells it in /sys/module/compression, "none" for a plain file.
func (c Compression) String() string {
	switch c {
	case Gzip:
		return "gzip"
	case XZ:
		return "xz"
	case Zstd:
		return "zstd"
	}
	return "none"
}

// maxImage bounds a module in memory, decompressed. The largest that are shipped, graphics drivers with everything in them, take a
// quarter of it; a compressed file that promises more is an attack or an accident.
const maxImage = 256 << 20

// errImageTooLarge is the cause when a module is, or decompresses to, more than maxImage bytes.
var errImageTooLarge = errors.New("module is larger than 256 MiB")

// detectCompression tells the format from the beginning of a file: six bytes are enough.
func detectCompression(head []byte) Compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return XZ
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	}
	return Uncompressed
}

// readImage reads a whole module from an open file, wherever its offset stands, and decompresses it. It takes no more than limit
// bytes of memory for the image, plus the file itself and the format's window of at most 64 MiB.
func readImage(f *os.File, limit int64) ([]byte, Compression, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, Uncompressed, err
	}
	if st.Size() > limit {
		return nil, Uncompressed, errImageTooLarge
	}
	file := make([]byte, st.Size())
	if n, err := f.ReadAt(file, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(file)) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // it shrank meanwhile
		}
		return nil, Uncompressed, err
	}
	c := detectCompression(file)
	if c == Uncompressed {
		return file, c, nil
	}
	image, err := decompress(file, c, limit)
	if err != nil {
		return nil, c, fmt.Errorf("decompress (%s): %w", c, err)
	}
	return image, c, nil
}

// decompress returns what a compressed module holds, or an error when that is more than limit bytes.
func decompress(file []byte, c Compression, limit int64) ([]byte, error) {
	var r io.Reader
	switch c {
	case Uncompressed:
		return file, nil
	case Gzip:
		z, err := gzip.NewReader(bytes.NewReader(file))
		if err != nil {
			return nil, err
		}
		r = z
	case XZ:
		z, err := xz.NewReader(bytes.NewReader(file), xz.DefaultDictMax)
		if err != nil {
			return nil, err
		}
		r = z
	case Zstd:
		// One goroutine: modules are decompressed side by side already, and none is left behind.
		z, err := zstd.NewReader(bytes.NewReader(file), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecodeBuffersBelow(0))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	}
	// A module shrinks to a quarter or a third of its size; a wrong guess costs one copy.
	var image bytes.Buffer
	image.Grow(int(min(int64(len(file))*4, limit)) + bytes.MinRead)
	if n, err := image.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, errImageTooLarge
	}
	return image.Bytes(), nil
}
