// Package json writes and reads JSON for kudev's commands and its control socket, as encoding/json does and with its struct
// tags (name, omitempty), for the types that occur there: structs, pointers, slices, maps by string, strings, integers and
// bools. A program that may have 6 MiB is 300 kB smaller for it, and for going without log/slog, which links the standard package.
// The tests hold this one to the standard package, value by value.
//
// What differs: <, > and & are written as they are, any other type is an error, and so is a value nested deeper than 100.
// Everything may be called concurrently but for one Decoder.
package json

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deeply values may be nested, written or read.
const maxDepth = 100

// Write writes v in one line.
func Write(w io.Writer, v any) error { return write(w, v, "") }

// WriteIndented writes v with each element in a line, and a last newline.
func WriteIndented(w io.Writer, v any) error { return write(w, v, "  ") }

func write(w io.Writer, v any, indent string) error {
	e := encoder{indent: indent, fields: fieldCache{}}
	if err := e.value(reflect.ValueOf(v), 0); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := w.Write(append(e.out, '\n'))
	return err
}

type encoder struct {
	out    []byte
	indent string // nothing for one line
	fields fieldCache
}

func (e *encoder) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v.Kind() {
	case reflect.Bool:
		e.out = strconv.AppendBool(e.out, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.out = strconv.AppendInt(e.out, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.out = strconv.AppendUint(e.out, v.Uint(), 10)
	case reflect.String:
		e.out = appendString(e.out, v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			e.null()
			return nil
		}
		return e.value(v.Elem(), depth)
	case reflect.Slice:
		return e.slice(v, depth)
	case reflect.Map:
		return e.object(v, depth)
	case reflect.Struct:
		return e.structure(v, depth)
	case reflect.Invalid: // a nil any
		e.null()
	default:
		return fmt.Errorf("%s is no type for it", v.Type())
	}
	return nil
}

func (e *encoder) null() { e.out = append(e.out, "null"...) }

func (e *encoder) slice(v reflect.Value, depth int) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return fmt.Errorf("%s is no type for it", v.Type())
	}
	if v.IsNil() {
		e.null()
		return nil
	}
	e.out = append(e.out, '[')
	for i := range v.Len() {
		e.next(i, depth)
		if err := e.value(v.Index(i), depth+1); err != nil {
			return err
		}
	}
	e.end(']', v.Len(), depth)
	return nil
}

// object writes a map, in the order of its keys.
func (e *encoder) object(v reflect.Value, depth int) error {
	if v.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("%s is no type for it", v.Type())
	}
	if v.IsNil() {
		e.null()
		return nil
	}
	keys := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	e.out = append(e.out, '{')
	for i, k := range keys {
		e.key(k, i, depth)
		if err := e.value(v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key())), depth+1); err != nil {
			return err
		}
	}
	e.end('}', len(keys), depth)
	return nil
}

func (e *encoder) structure(v reflect.Value, depth int) error {
	e.out = append(e.out, '{')
	n := 0
	for _, f := range e.fields.of(v.Type()) {
		field := v.Field(f.index)
		if f.omitEmpty && empty(field) {
			continue
		}
		e.key(f.name, n, depth)
		if err := e.value(field, depth+1); err != nil {
			return err
		}
		n++
	}
	e.end('}', n, depth)
	return nil
}

// empty says whether omitempty leaves a value out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// key begins the nth member of an object.
func (e *encoder) key(name string, n, depth int) {
	e.next(n, depth)
	e.out = append(appendString(e.out, name), ':')
	if e.indent != "" {
		e.out = append(e.out, ' ')
	}
}

// next begins the nth element of what is being written at a depth.
func (e *encoder) next(n, depth int) {
	if n > 0 {
		e.out = append(e.out, ',')
	}
	e.line(depth + 1)
}

// end closes what has n elements.
func (e *encoder) end(with byte, n, depth int) {
	if n > 0 {
		e.line(depth)
	}
	e.out = append(e.out, with)
}

func (e *encoder) line(depth int) {
	if e.indent != "" {
		e.out = append(e.out, '\n')
		for range depth {
			e.out = append(e.out, e.indent...)
		}
	}
}

// appendString writes a string with quotes. What is no UTF-8 becomes U+FFFD; U+2028 and U+2029, which end a line in
// JavaScript, are written as numbers, as the standard package does both.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch at := strings.IndexByte("\"\\\b\f\n\r\t", c); {
			case at >= 0:
				b = append(b, '\\', `"\bfnrt`[at])
			case c < ' ':
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			continue
		}
		switch r, n := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && n == 1:
			b = append(b, `\ufffd`...)
			i++
		case r == '\u2028', r == '\u2029':
			b = append(b, `\u202`...)
			b = append(b, hex[r&15])
			i += n
		default:
			b = append(b, s[i:i+n]...)
			i += n
		}
	}
	return append(b, '"')
}

// A field is what JSON has of a struct's field.
type field struct {
	name      string
	index     int
	omitEmpty bool
}

// A fieldCache keeps what the tags of structs say, for one value that is written or read.
type fieldCache map[reflect.Type][]field

func (c fieldCache) of(t reflect.Type) []field {
	if list, ok := c[t]; ok {
		return list
	}
	list := []field{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		list = append(list, field{name, i, options == "omitempty"})
	}
	c[t] = list
	return list
}
