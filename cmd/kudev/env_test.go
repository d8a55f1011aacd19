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
	go func() {
		out.Write([]byte("a line"))
		cancel()
	}()
	got, err := io.ReadAll(r)
	if string(got) != "a line" || err == nil || err.Error() != "interrupted" {
		t.Errorf("read %q, %v", got, err)
	}
	got, err = io.ReadAll(&interruptedReader{ctx: t.Context(), r: strings.NewReader(strings.Repeat("x", 5000))})
	if len(got) != 5000 || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
