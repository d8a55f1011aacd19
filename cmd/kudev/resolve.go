package main

import (
	"bufio"
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
	in := bufio.NewReaderSize(e.stdin, 64<<10)
	for ctx.Err() == nil {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("standard input: a line is longer than %d bytes", in.Size())
		}
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		}
		if len(line) > 0 {
			if err := r.resolve(string(line)); err != nil {
				return err
			}
		}
		if in.Buffered() == 0 { // whoever waits for an answer before the next question gets it
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return out.Flush()
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
