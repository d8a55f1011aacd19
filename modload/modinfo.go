package modload

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
)

// ErrNoInfo is the error for a built-in module of which the tree says nothing.
var ErrNoInfo = errors.New("nothing known of it")

// BuiltInInfo is what a module that is built in says of itself: the tree's modules.builtin.modinfo, which kernels since 5.2 come with. The
// error is [ErrNoInfo], or why that file cannot be read.
//
// Format: "module.key=value", each ended by a NUL, a module's lines together.
func (x *Index) BuiltInInfo(module string) (Info, error) {
	data, err := os.ReadFile(filepath.Join(x.Dir(), "modules.builtin.modinfo"))
	if err != nil {
		return Info{}, err
	}
	var raw []byte
	for line := range zeroTerminated(data) {
		name, rest, ok := bytes.Cut(line, []byte("."))
		switch {
		case ok && string(name) == module:
			raw = append(append(raw, rest...), 0)
		case raw != nil:
			return Info{raw}, nil
		}
	}
	if raw == nil {
		return Info{}, ErrNoInfo
	}
	return Info{raw}, nil
}
