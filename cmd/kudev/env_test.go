package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestReadingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	r := &interruptedReader{ctx: ctx, r: in}
	go out.Write([]byte("a line"))
	line := make([]byte, 100)
	n, err := r.Read(line)
	if string(line[:n]) != "a line" || err != nil {
		t.Errorf("read %q, %v", line[:n], err)
	}
	cancel()
	if n, err = r.Read(line); n != 0 || err == nil || err.Error() != "interrupted" {
		t.Errorf("read %q, %v", line[:n], err)
	}
	got, err := io.ReadAll(&interruptedReader{ctx: t.Context(), r: strings.NewReader(strings.Repeat("x", 5000))})
	if len(got) != 5000 || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
