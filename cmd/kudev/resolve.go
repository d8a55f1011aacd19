package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/json"
	"github.com/kudev/kudev/modload"
)

// runResolve prints which modules each modalias stands for: the alias, a tab, and the modules in kmod's order. The aliases are arguments
// or, when there are none, lines of the standard input, and any number of them.
func runResolve(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("resolve", pflag.ContinueOnError)
	tree := e.treeFlags(flags)
	asJSON := flags.Bool("json", false, "print a JSON object a line, with what matched")
	aliases, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	index, err := modload.Open(cfg)
	if err != nil {
		return err
	}
	for _, p := range index.Problems() {
		fmt.Fprintf(e.stderr, "%s: %v\n", e.name, p)
	}
	out := bufio.NewWriterSize(e.stdout, 64<<10)
	r := resolver{index: index, out: out, json: *asJSON}
	if len(aliases) > 0 {
		for _, alias := range aliases {
			if err := r.resolve(alias); err != nil {
				return err
			}
		}
		return out.Flush()
	}
	return r.lines(ctx, e.stdin)
}

// maxAlias is the length of a line that is none for sure: the kernel's own are below 2 KiB.
const maxAlias = 1 << 20

// lines answers each line with a line, as soon as no further one has come. A carriage return at its end is no part of it.
func (r resolver) lines(ctx context.Context, stdin io.Reader) error {
	in := bufio.NewReaderSize(stdin, 64<<10)
	var long []byte // the beginning of a line that is longer than the buffer
	var bad error
	for n := 1; ctx.Err() == nil; {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(long) <= maxAlias {
				long = append(long, line...)
			}
			continue
		}
		if len(long) > 0 {
			line, long = append(long, line...), long[:0]
		}
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		switch line = bytes.TrimSuffix(line, []byte("\r")); {
		case len(line) > maxAlias:
			bad = cmp.Or(bad, fmt.Errorf("standard input: line %d is longer than %d bytes: it is skipped", n, maxAlias))
		case whole || len(line) > 0:
			if err := r.resolve(string(line)); err != nil {
				return err
			}
		}
		n++
		if in.Buffered() == 0 { // whoever waits for an answer before the next question gets it
			if err := r.out.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return cmp.Or(r.out.Flush(), bad)
		}
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	}
	return ctx.Err()
}

type resolver struct {
	index *modload.Index
	out   *bufio.Writer
	json  bool
}

func (r resolver) resolve(alias string) error {
	if r.json {
		return r.resolveJSON(alias)
	}
	r.out.WriteString(alias)
	separator := byte('\t')
	for m := range r.index.Match(alias) {
		r.out.WriteByte(separator)
		r.out.WriteString(m.Module)
		separator = ' '
	}
	if separator == '\t' {
		r.out.WriteByte('\t')
	}
	return r.out.WriteByte('\n')
}

func (r resolver) resolveJSON(alias string) error {
	type match struct {
		Module  string `json:"module"`
		Via     string `json:"via"`
		Pattern string `json:"pattern"`
		Refused string `json:"refused,omitempty"`
	}
	line := struct {
		Alias   string  `json:"alias"`
		Modules []match `json:"modules"`
	}{alias, []match{}}
	for m := range r.index.Match(alias) {
		j := match{Module: m.Module, Via: m.Via.String(), Pattern: m.Pattern()}
		if err := r.index.Refusal(m.Module, alias); err != nil {
			j.Refused = err.Error()
		}
		line.Modules = append(line.Modules, j)
	}
	return json.Write(r.out, line)
}
