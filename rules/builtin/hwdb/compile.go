package hwdb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// SourceDirs are the directories of hwdb.d files, highest first: a file masks those of its name further down.
var sourceDirs = [...]string{"etc/udev/hwdb.d", "run/udev/hwdb.d", "usr/local/lib/udev/hwdb.d", "lib/udev/hwdb.d", "usr/lib/udev/hwdb.d"}

// SourceDirs returns the directories of hwdb.d files below root, highest first.
func SourceDirs(root string) []string {
	out := make([]string, len(sourceDirs))
	for i, d := range sourceDirs {
		out[i] = filepath.Join("/", root, d)
	}
	return out
}

// Compiler collects hwdb.d files. The zero value is ready. It belongs to one goroutine.
type Compiler struct {
	// Version goes into the file's header as the version of the tool.
	Version uint64
	// Compat leaves out file names and line numbers, as `udevadm hwdb --update` does.
	Compat bool
	// Warn is told of every line that does not count; nil for nobody.
	Warn func(file string, line int, message string)

	root    *trieNode
	strings *stringStore
	files   uint16
}

type trieNode struct {
	prefix   int // in the string store
	children []trieChild
	values   []trieValue
}

type trieChild struct {
	c    byte
	node *trieNode
}

type trieValue struct {
	key, value, file int
	line             uint32
	priority         uint16
}

func (c *Compiler) init() {
	if c.root == nil {
		c.root, c.strings = &trieNode{}, newStringStore()
	}
}

// Files lists the .hwdb files of the directories, of which the first counts most, by their names.
func Files(dirs []string) ([]string, error) {
	byName := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := e.Name()
			if _, seen := byName[name]; seen || !strings.HasSuffix(name, ".hwdb") || name[0] == '.' {
				continue
			}
			path := filepath.Join(dir, name)
			if st, err := os.Stat(path); err != nil || st.IsDir() {
				continue
			}
			byName[name] = path
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		names[i] = byName[name]
	}
	return names, nil
}

// AddFile adds a file. Files count the more the later they are added.
func (c *Compiler) AddFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.Add(path, f)
}

// Add adds what r holds; name is what the database says of where it comes from.
func (c *Compiler) Add(name string, r io.Reader) error {
	c.init()
	c.files++
	warn := func(line int, message string) {
		if c.Warn != nil {
			c.Warn(name, line, message)
		}
	}
	const (
		none = iota
		matches
		data
	)
	state := none
	var patterns []string
	in := bufio.NewReaderSize(r, 64<<10)
	number := 1
	for ; ; number++ {
		line, err := readLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: line %d: %w", name, number, err)
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimRight(line, " \t\n\v\f\r")
		switch {
		case state == none && line == "":
		case state == none && line[0] == ' ':
			warn(number, "a property without a match in front of it")
		case state == none:
			state, patterns = matches, append(patterns[:0], line)
		case state == matches && line == "":
			warn(number, "a record without properties")
			state = none
		case state == matches && line[0] != ' ':
			patterns = append(patterns, line)
		case line == "":
			state = none
		case line[0] != ' ':
			warn(number, "a property or an empty line is expected here")
			state = none
		default:
			state = data
			if message := c.property(patterns, line, name, uint32(number)); message != "" {
				warn(number, message)
			}
		}
	}
	if state == matches {
		warn(number-1, "a record without properties at the end")
	}
	return nil
}

// readLine returns a line without its end. Lines end at a newline, a NUL or the end of the file.
func readLine(in *bufio.Reader) (string, error) {
	const longest = 1 << 20
	var b []byte
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			if b == nil {
				return "", io.EOF
			}
			return string(b), nil
		}
		if err != nil {
			return "", err
		}
		if c == '\n' || c == 0 {
			return string(b), nil
		}
		if c == '\r' {
			if next, err := in.Peek(1); err == nil && next[0] == '\n' {
				in.Discard(1)
			}
			return string(b), nil
		}
		if len(b) == longest {
			return "", errors.New("longer than 1 MiB")
		}
		if b == nil {
			b = make([]byte, 0, 80)
		}
		b = append(b, c)
	}
}

func (c *Compiler) property(patterns []string, line, file string, number uint32) string {
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return "not KEY=value"
	}
	blank := func(b byte) bool { return b == ' ' || b == '\t' }
	for len(key) > 1 && blank(key[0]) && blank(key[1]) {
		key = key[1:]
	}
	if len(key) < 2 {
		return "the key is empty"
	}
	for _, p := range patterns {
		c.insert(p, key, value, file, number)
	}
	return ""
}

func (c *Compiler) insert(pattern, key, value, file string, line uint32) {
	n := c.root
	for i := 0; ; i++ {
		prefix := c.strings.at(n.prefix)
		for p := 0; p < len(prefix); p++ {
			if i+p < len(pattern) && prefix[p] == pattern[i+p] {
				continue
			}
			// The node is split: it keeps what is common, a new child gets the rest and all it has.
			rest := &trieNode{prefix: n.prefix + p + 1, children: n.children, values: n.values}
			letter := prefix[p]
			*n = trieNode{prefix: c.strings.add(string(prefix[:p]))}
			n.add(letter, rest)
			prefix = prefix[:p]
			break
		}
		i += len(prefix)
		if i >= len(pattern) {
			c.addValue(n, key, value, file, line)
			return
		}
		next := n.child(pattern[i])
		if next == nil {
			next = &trieNode{prefix: c.strings.add(pattern[i+1:])}
			n.add(pattern[i], next)
			c.addValue(next, key, value, file, line)
			return
		}
		n = next
	}
}

func (n *trieNode) find(c byte) (int, bool) {
	return slices.BinarySearchFunc(n.children, c, func(e trieChild, c byte) int { return int(e.c) - int(c) })
}

func (n *trieNode) child(c byte) *trieNode {
	if i, ok := n.find(c); ok {
		return n.children[i].node
	}
	return nil
}

func (n *trieNode) add(c byte, child *trieNode) {
	i, _ := n.find(c)
	n.children = slices.Insert(n.children, i, trieChild{c, child})
}

func (c *Compiler) addValue(n *trieNode, key, value, file string, line uint32) {
	v := trieValue{key: c.strings.add(key), value: c.strings.add(value), line: line, priority: c.files}
	if !c.Compat {
		v.file = c.strings.add(file)
	}
	i, found := slices.BinarySearchFunc(n.values, v, func(a, b trieValue) int {
		return bytes.Compare(c.strings.at(a.key), c.strings.at(b.key))
	})
	if found { // files come in their order: the later one counts
		v.key = n.values[i].key
		n.values[i] = v
		return
	}
	n.values = slices.Insert(n.values, i, v)
}

// Empty reports whether no file was added.
func (c *Compiler) Empty() bool { return c.files == 0 }

// WriteTo writes the database.
func (c *Compiler) WriteTo(w io.Writer) (int64, error) {
	c.init()
	size := valueSize2
	if c.Compat {
		size = valueSize1
	}
	out := make([]byte, headerSize, headerSize+nodesSize(c.root, size)+len(c.strings.buf))
	base := uint64(cap(out) - len(c.strings.buf))
	out, root := c.appendNode(out, c.root, base, size)
	nodes := uint64(len(out) - headerSize)
	out = append(out, c.strings.buf...)
	copy(out, signature)
	for i, v := range []uint64{c.Version, uint64(len(out)), headerSize, nodeSize, childSize, uint64(size), root, nodes, uint64(len(c.strings.buf))} {
		binary.LittleEndian.PutUint64(out[8+8*i:], v)
	}
	n, err := w.Write(out)
	return int64(n), err
}

func nodesSize(n *trieNode, valueSize int) int {
	total := nodeSize + len(n.children)*childSize + len(n.values)*valueSize
	for _, c := range n.children {
		total += nodesSize(c.node, valueSize)
	}
	return total
}

// appendNode writes the children first, then the node, and returns its offset.
func (c *Compiler) appendNode(out []byte, n *trieNode, base uint64, size int) ([]byte, uint64) {
	offsets := make([]uint64, len(n.children))
	for i, child := range n.children {
		out, offsets[i] = c.appendNode(out, child.node, base, size)
	}
	le := binary.LittleEndian
	at := uint64(len(out))
	out = le.AppendUint64(out, base+uint64(n.prefix))
	out = append(out, byte(len(n.children)), 0, 0, 0, 0, 0, 0, 0)
	out = le.AppendUint64(out, uint64(len(n.values)))
	for i, child := range n.children {
		out = append(out, child.c, 0, 0, 0, 0, 0, 0, 0)
		out = le.AppendUint64(out, offsets[i])
	}
	for _, v := range n.values {
		out = le.AppendUint64(out, base+uint64(v.key))
		out = le.AppendUint64(out, base+uint64(v.value))
		if size == valueSize2 {
			out = le.AppendUint64(out, base+uint64(v.file))
			out = le.AppendUint32(out, v.line)
			out = le.AppendUint16(out, v.priority)
			out = append(out, 0, 0)
		}
	}
	return out, at
}

// WriteFile writes the database to path, whole or not at all.
func (c *Compiler) WriteFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".#"+filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = c.WriteTo(f)
	for _, step := range []func() error{func() error { return f.Chmod(0o444) }, f.Sync, f.Close} {
		if e := step(); err == nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// stringStore holds strings one after another, each ended by a NUL. A string that is the end of one already there
// is not stored again. It finds them in a trie over the reversed strings.
type stringStore struct {
	buf  []byte
	root *suffix
}

type suffix struct {
	off, length int
	children    map[byte]*suffix
}

func newStringStore() *stringStore { return &stringStore{buf: []byte{0}, root: &suffix{}} }

// at returns the string at an offset without its NUL.
func (s *stringStore) at(off int) []byte {
	return s.buf[off : off+bytes.IndexByte(s.buf[off:], 0)]
}

func (s *stringStore) add(text string) int {
	if text == "" {
		return 0
	}
	n := s.root
	var last byte
	for depth := 0; depth <= len(text); depth++ {
		off := n.off + n.length - len(text)
		if depth == len(text) || n.length >= len(text) && string(s.buf[off:off+len(text)]) == text {
			return off
		}
		last = text[len(text)-1-depth]
		next := n.children[last]
		if next == nil {
			break
		}
		n = next
	}
	off := len(s.buf)
	s.buf = append(s.buf, text...)
	s.buf = append(s.buf, 0)
	if n.children == nil {
		n.children = map[byte]*suffix{}
	}
	n.children[last] = &suffix{off: off, length: len(text)}
	return off
}
