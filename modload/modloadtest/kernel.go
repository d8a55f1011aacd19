package modloadtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is a kernel that has no hardware: a modload.Kernel that takes modules by their files' names, refuses one whose dependencies are not
// there, as the real one does for its symbols, and keeps account. Its zero value is empty and good; any number of goroutines may use it.
type Kernel struct {
	// Deps are the modules that each module needs. One that needs a module that is not live is refused with ENOENT and is noted in
	// Violations.
	Deps map[string][]string

	// Fail is the error that a module is refused with.
	Fail map[string]error

	// Init is called, without any lock, while a module is coming. It may block, ask for other modules, or fail.
	Init func(module, parameters string) error

	// Settle is called, without any lock, when a module is live and its insertion has not returned yet: the real kernel waits there for
	// the asynchronous work of all drivers. It may block.
	Settle func(module string)

	// Decompress is what the kernel reads by itself: gzip, xz or zstd.
	Decompress string

	// NoFinit makes the kernel one without finit_module(2).
	NoFinit bool

	mu         sync.Mutex
	modules    map[string]*loaded
	order      []string
	images     map[string][]byte
	violations []string
	inside     int
	widest     int
}

type loaded struct {
	state      string
	parameters string
	flags      int
	uses       int // beside its holders
	done       chan struct{}
}

func moduleOf(path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), ".")
	return strings.ReplaceAll(base, "-", "_")
}

// State is a method of modload.Kernel.
func (k *Kernel) State(module string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.modules[module]; m != nil {
		return m.state
	}
	return ""
}

// Insert is a method of modload.Kernel. It refuses a compressed file unless that is what Decompress says.
func (k *Kernel) Insert(file *os.File, parameters string, flags int) error {
	if k.NoFinit {
		return unix.ENOSYS
	}
	var head [4]byte
	if n, _ := file.ReadAt(head[:], 0); string(head[:n]) != "\x7fELF" && flags&4 == 0 {
		return unix.ENOEXEC
	}
	return k.insert(moduleOf(file.Name()), parameters, flags, nil)
}

// InsertImage is a method of modload.Kernel. The module's name is the line name= of its .modinfo.
func (k *Kernel) InsertImage(image []byte, parameters string) error {
	_, after, ok := strings.Cut(string(image), "\x00name=")
	name, _, _ := strings.Cut(after, "\x00")
	if !ok || !strings.HasPrefix(string(image), "\x7fELF") {
		return unix.ENOEXEC
	}
	return k.insert(name, parameters, 0, image)
}

func (k *Kernel) insert(name, parameters string, flags int, image []byte) error {
	k.mu.Lock()
	for {
		m := k.modules[name]
		if m == nil {
			break
		}
		if m.state == "live" {
			k.mu.Unlock()
			return unix.EEXIST
		}
		k.mu.Unlock()
		<-m.done // coming or going: the real one waits too
		k.mu.Lock()
	}
	for _, dep := range k.Deps[name] {
		if d := k.modules[dep]; d == nil || d.state != "live" {
			k.violations = append(k.violations, name+" before "+dep)
			k.mu.Unlock()
			return unix.ENOENT
		}
	}
	if k.modules == nil {
		k.modules, k.images = map[string]*loaded{}, map[string][]byte{}
	}
	m := &loaded{state: "coming", parameters: parameters, flags: flags, done: make(chan struct{})}
	k.modules[name] = m
	k.order = append(k.order, name)
	if image != nil {
		k.images[name] = slices.Clone(image)
	}
	k.inside++
	k.widest = max(k.widest, k.inside)
	k.mu.Unlock()

	err := k.Fail[name]
	if err == nil && k.Init != nil {
		err = k.Init(name, parameters)
	}

	k.mu.Lock()
	if err != nil {
		delete(k.modules, name)
	} else {
		m.state = "live"
	}
	close(m.done)
	k.mu.Unlock()
	if err == nil && k.Settle != nil {
		k.Settle(name)
	}
	k.mu.Lock()
	k.inside--
	k.mu.Unlock()
	return err
}

// Remove is a method of modload.Kernel.
func (k *Kernel) Remove(module string, force bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.modules[module]
	switch {
	case m == nil:
		return unix.ENOENT
	case m.uses > 0 && !force, len(k.holders(module)) > 0:
		return unix.EWOULDBLOCK
	case m.state != "live":
		return unix.EBUSY
	}
	delete(k.modules, module)
	k.order = append(k.order, "-"+module)
	return nil
}

// Users is a method of modload.Kernel: the modules that need it, and what Use has added.
func (k *Kernel) Users(module string) (int, []string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.modules[module]
	if m == nil {
		return 0, nil, nil
	}
	holders := k.holders(module)
	return m.uses + len(holders), holders, nil
}

func (k *Kernel) holders(module string) (holders []string) {
	for name := range k.modules {
		if slices.Contains(k.Deps[name], module) {
			holders = append(holders, name)
		}
	}
	slices.Sort(holders)
	return holders
}

// Compression is a method of modload.Kernel.
func (k *Kernel) Compression() string { return k.Decompress }

// Have puts modules into the kernel as they are: their state is live, coming or going. A coming one stays so until Finish.
func (k *Kernel) Have(state string, modules ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.modules == nil {
		k.modules, k.images = map[string]*loaded{}, map[string][]byte{}
	}
	for _, m := range modules {
		k.modules[m] = &loaded{state: state, done: make(chan struct{})}
	}
}

// Finish makes a coming module live, or with an error takes it away.
func (k *Kernel) Finish(module string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.modules[module]
	if err != nil {
		delete(k.modules, module)
	} else {
		m.state = "live"
	}
	close(m.done)
}

// Use adds n to a module's users; less than 0 takes them away.
func (k *Kernel) Use(module string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.modules[module].uses += n
}

// Order returns the modules in the order in which their insertion began; a removal is the name with a minus sign in front.
func (k *Kernel) Order() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.order)
}

// Violations returns what was inserted before its dependencies: "a before b".
func (k *Kernel) Violations() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.violations)
}

// Widest returns how many insertions went on at once, at the most.
func (k *Kernel) Widest() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.widest
}

// Parameters returns what a live module was loaded with, and the flags.
func (k *Kernel) Parameters(module string) (parameters string, flags int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.modules[module]; m != nil {
		return m.parameters, m.flags
	}
	return "", 0
}

// Image returns what was handed over in memory for a module, nil when it came as a file.
func (k *Kernel) Image(module string) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.images[module]
}

// Sleep is an Init that takes a while.
func Sleep(d time.Duration) func(string, string) error {
	return func(string, string) error {
		time.Sleep(d)
		return nil
	}
}
