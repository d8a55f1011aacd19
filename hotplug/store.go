package hotplug

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// StoreOptions may all be left out.
type StoreOptions struct {
	// MakeNodes says that the kernel does not keep the nodes of /dev (no devtmpfs is mounted there), so that the store
	// makes and removes them. See [Roots.NeedsNodes].
	MakeNodes bool
	// Rename gives a network interface another name. Nil leaves the names as they are. See [Renamer].
	Rename func(ctx context.Context, ifindex int, from, to string) error
	// Shared says that others may keep links below the same roots at the same time, each in a process of its own.
	Shared bool
}

// Store keeps what a device manager keeps of devices: the node's owner and mode, links, the record, tags. It is the one
// owner of all that below its roots: two stores on one /run would each decide who gets a link, unless both are Shared.
//
// Methods may be called by any goroutine, for different devices at once; for one device only one after the other, as a
// [Queue] does.
type Store struct {
	roots Roots
	opts  StoreOptions
	links *links

	mu        sync.Mutex
	unwritten map[string]*Record // by id: records for which there was no room
}

// Applied is what came of a result.
type Applied struct {
	// Properties are those of the event as listeners and programs see them: DEVNAME with /dev/ in front, DEVLINKS, TAGS,
	// CURRENT_TAGS, USEC_INITIALIZED and UDEV_DATABASE_VERSION added, and without those that begin with a dot.
	Properties []Pair
	Record     *Record  // as it was before, for a remove; else as it is now
	Links      []string // links that this device has now: claimed, and not another's by priority
	Lost       []string // links claimed that another device has by priority
	Taken      []string // links that were not made, since something that is no link has the name, such as a node
	Dropped    []string // links that it claimed before and no longer does
	Renamed    string   // the interface's name before, "" when it was not renamed
	Others     error    // why the node was left alone though nothing failed: it is another device's, or none
	Kept       error    // why an interface keeps its name though nothing failed: it is up, or the new one can be no interface's

	persist bool // the record is to outlive the initramfs
	later   bool // it is to be written once more: see Finish
}

// Set adds a property that a builtin of RUN found, for the record and for listeners. See [Store.Finish].
func (a *Applied) Set(key, value string) {
	if key == "" || key[0] == '.' {
		return
	}
	a.Properties = setPair(a.Properties, key, value)
	for i := range a.Record.Properties {
		if p := &a.Record.Properties[i]; p.Key == key {
			a.later = a.later || p.Value != value
			p.Value = value
			return
		}
	}
	a.Record.Properties = append(a.Record.Properties, Property{key, value, true})
	a.later = true
}

//go:noinline // once in the program, not in each of its many callers
func setPair(all []Pair, key, value string) []Pair {
	for i := range all {
		if all[i].Key == key {
			all[i].Value = value
			return all
		}
	}
	return append(all, Pair{key, value})
}

// OpenStore makes the directories below /run/udev, removes what a store that was killed has left half made, and reads the links that
// devices claim already. The store works even
// when there is an error, as far as what it says allows.
func OpenStore(roots Roots, opts StoreOptions) (*Store, error) {
	s := &Store{roots: roots, opts: opts, links: newLinks(roots, opts.Shared)}
	var errs []error
	if run, err := os.OpenRoot(roots.RunDir()); err != nil {
		errs = append(errs, err)
	} else {
		for _, dir := range []string{"data", "tags", "links", "watch"} {
			errs = append(errs, run.MkdirAll("udev/"+dir, 0o755))
		}
		run.Close()
	}
	if !opts.Shared { // else what is half done may be another's who is at it
		sweepTemporaries(roots.RunDir() + "/udev")
		sweepTemporaries(roots.DevDir(), "shm", "pts", "mqueue", "hugepages", "bus", "cpu")
		errs = append(errs, s.links.load())
	}
	return s, errors.Join(errs...)
}

// LinkOwner returns the id of the device that a link (a name below /dev) belongs to, "" for none.
func (s *Store) LinkOwner(name string) string { return s.links.owner(name) }

// Apply carries a result out: the interface's name, the node, links, tags, the record; for a remove it takes all of it away.
// What cannot be done is in the error, which joins one for each failure; the rest is done nevertheless. An error of a
// device that has gone meanwhile satisfies [IsGone].
func (s *Store) Apply(ctx context.Context, ev *Event, dev *Device, res *Result) (*Applied, error) {
	if ev.Action() == "remove" {
		return s.remove(ev, dev, res)
	}
	var errs []error
	applied := &Applied{}
	old, err := s.before(dev)
	if err != nil {
		errs = append(errs, err)
	}
	if res.Name != "" && ev.Action() == "add" && res.Name != dev.Sysname() && dev.Ifindex() > 0 && s.opts.Rename != nil {
		var err error
		if validInterface(res.Name) {
			err = s.opts.Rename(ctx, dev.Ifindex(), dev.Sysname(), res.Name)
		} else {
			applied.Kept = fmt.Errorf("%q can be no interface's name", res.Name)
		}
		switch {
		case applied.Kept != nil:
		case errors.Is(err, unix.EBUSY):
			applied.Kept = err
		case err != nil:
			errs = append(errs, err)
		default:
			applied.Renamed = dev.Sysname()
			dev.rename(res.Name)
		}
	}
	if err := s.roots.applyNode(dev, res.Node, ev.Action(), s.opts.MakeNodes); errors.Is(err, errOthersNode) {
		applied.Others = err
	} else {
		errs = append(errs, err)
	}

	rec := &Record{Priority: res.Priority, Initialized: old.Initialized, Version: 1}
	for _, tag := range res.Tags {
		if ValidTag(tag) {
			rec.CurrentTags = append(rec.CurrentTags, tag)
		} else {
			errs = append(errs, fmt.Errorf("tag %q: is no name", tag))
		}
	}
	rec.Tags = merged(old.Tags, rec.CurrentTags)
	if res.EverTags != nil {
		rec.Tags = slices.DeleteFunc(slices.Clone(res.EverTags), func(tag string) bool { return !ValidTag(tag) })
		errs = append(errs, s.dropTags(dev, old.Tags, rec.Tags))
	}
	if rec.Initialized == 0 {
		rec.Initialized = ev.Received()
	}
	if rec.Initialized == 0 {
		rec.Initialized = monotonic()
	}
	for _, p := range res.Properties {
		if p.Stored && !strings.HasPrefix(p.Key, ".") {
			rec.Properties = append(rec.Properties, p)
		}
	}
	if applied.Renamed != "" { // until the kernel's move event has been handled, which does not say it
		rec.Properties = append(rec.Properties, Property{"ID_RENAMING", "1", true})
	}
	if num, ok := dev.Devnum(); ok && dev.Devname() != "" {
		for _, name := range res.Links {
			if validLink(name) {
				rec.Links = append(rec.Links, name)
			} else {
				errs = append(errs, fmt.Errorf("link %q: is no name below /dev", name))
			}
		}
		errs = append(errs, s.applyLinks(dev, num, old, rec, applied))
	} else {
		rec.Priority = 0
	}
	applied.persist = res.Persist
	err = s.writeFirst(dev, rec, res, applied, old)
	s.remember(dev.ID(), rec, err)
	errs = append(errs, s.writeTags(dev, rec), err)
	applied.Record = rec
	applied.Properties = publicProperties(ev, dev, res, rec, applied.Renamed)
	return applied, join(dev, errs)
}

// processing is what the record says while programs of RUN are pending, since the device may not be what it will be.
const processing = "ID_PROCESSING"

// writeFirst keeps the record as it is before RUN.
func (s *Store) writeFirst(dev *Device, rec *Record, res *Result, applied *Applied, old *Record) error {
	isProgram := func(c Command) bool { return !c.Builtin }
	if !slices.ContainsFunc(res.Run, isProgram) || rec.nothing() && strings.HasPrefix(dev.ID(), "+") {
		return s.writeRecord(dev, rec, res.Persist, old)
	}
	applied.later = true
	first := *rec
	first.Properties = append(slices.Clip(rec.Properties), Property{processing, "1", true})
	return s.writeRecord(dev, &first, res.Persist, old)
}

// Finish keeps the record as it is after RUN. Nothing is written when RUN has no part in it.
func (s *Store) Finish(dev *Device, applied *Applied) error {
	if !applied.later {
		return nil
	}
	applied.later = false
	err := s.writeRecord(dev, applied.Record, applied.persist, &Record{})
	s.remember(dev.ID(), applied.Record, err)
	return err
}

// RecordError is why a device's record could not be kept.
type RecordError struct {
	ID  string // the device's, such as b8:0
	Err error
}

func (e *RecordError) Error() string { return "record " + e.ID + ": " + e.Err.Error() }
func (e *RecordError) Unwrap() error { return e.Err }

// before returns what the device has: what its record says, and one that could not be written would say.
func (s *Store) before(dev *Device) (*Record, error) {
	old := new(Record)
	rec, err := dev.Record()
	dev.have &^= haveRecord // it is about to be another
	switch {
	case err == nil:
		*old = *rec
	case errors.Is(err, fs.ErrNotExist):
		old.missing, err = true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec := s.unwritten[dev.ID()]; rec != nil {
		old.Links, old.Tags = merged(old.Links, rec.Links), merged(old.Tags, rec.Tags)
	}
	return old, err
}

// remember keeps a record in memory when it could not be written, so that its links and tags are taken away with the device.
func (s *Store) remember(id string, rec *Record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		delete(s.unwritten, id)
	case s.unwritten == nil:
		s.unwritten = make(map[string]*Record)
		fallthrough
	default:
		s.unwritten[id] = rec
	}
}

// applyLinks claims the links of now, and gives up those of before.
func (s *Store) applyLinks(dev *Device, num Devnum, old, rec *Record, applied *Applied) error {
	var errs []error
	id, node := dev.ID(), dev.Devname()
	for _, name := range rec.Links {
		owner, err := s.links.set(name, claim{id: id, priority: rec.Priority, node: node})
		switch {
		case errors.Is(err, errTaken):
			if name != node { // what leads to itself is as it was asked for
				applied.Taken = append(applied.Taken, name)
			}
			continue
		case err != nil:
			errs = append(errs, err)
		}
		if owner == id {
			applied.Links = append(applied.Links, name)
		} else {
			applied.Lost = append(applied.Lost, name)
		}
	}
	for _, name := range old.Links {
		if !slices.Contains(rec.Links, name) {
			applied.Dropped = append(applied.Dropped, name)
			errs = append(errs, s.links.drop(name, id, node))
		}
	}
	name := numberLink(dev, num)
	if says(s.roots.DevDir()+"/"+name, relative(name, node)) {
		return errors.Join(errs...)
	}
	if root, err := os.OpenRoot(s.roots.DevDir()); err != nil {
		errs = append(errs, err)
	} else {
		if err := writeLink(root, name, relative(name, node)); err != nil {
			errs = append(errs, fmt.Errorf("link %s: %w", name, err))
		}
		root.Close()
	}
	return errors.Join(errs...)
}

// numberLink is the link by number that every node has.
func numberLink(dev *Device, num Devnum) string {
	if dev.IsBlock() {
		return "block/" + num.String()
	}
	return "char/" + num.String()
}

// remove takes away what the device had.
func (s *Store) remove(ev *Event, dev *Device, res *Result) (*Applied, error) {
	var errs []error
	old, err := s.before(dev)
	if err != nil {
		errs = append(errs, err)
	}
	applied := &Applied{Record: old, Dropped: old.Links}
	errs = append(errs, s.forget(dev.ID(), dev.Devname(), old))
	s.remember(dev.ID(), nil, nil)
	if num, ok := dev.Devnum(); ok && dev.Devname() != "" {
		if root, err := os.OpenRoot(s.roots.DevDir()); err != nil {
			errs = append(errs, err)
		} else {
			name := numberLink(dev, num)
			if target, err := root.Readlink(name); err == nil && target == relative(name, dev.Devname()) {
				errs = append(errs, removeFile(root, name))
				prune(root, name)
			}
			root.Close()
		}
		if s.opts.MakeNodes {
			errs = append(errs, s.roots.removeNode(dev))
		}
	}
	told := &Record{
		Links: merged(old.Links, res.Links), Tags: merged(old.Tags, res.Tags), CurrentTags: merged(old.CurrentTags, res.Tags), // rules add to what was
		Initialized: cmp.Or(old.Initialized, monotonic()),
	}
	applied.Properties = publicProperties(ev, dev, res, told, "")
	return applied, join(dev, errs)
}

// forget removes a device's tags, record and claims.
func (s *Store) forget(id, node string, rec *Record) error {
	if id == "" {
		return nil
	}
	var errs []error
	for _, name := range rec.Links {
		errs = append(errs, s.links.drop(name, id, node))
	}
	run, err := os.OpenRoot(s.roots.RunDir())
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer run.Close()
	for _, tag := range merged(rec.Tags, rec.CurrentTags) {
		if ValidTag(tag) {
			errs = append(errs, removeFile(run, "udev/tags/"+tag+"/"+id))
		}
	}
	errs = append(errs, removeFile(run, "udev/data/"+id))
	return errors.Join(errs...)
}

// writeTags makes an empty file for each tag that the device has or had.
func (s *Store) writeTags(dev *Device, rec *Record) error {
	id := dev.ID()
	there := func(tag string) bool {
		var st unix.Stat_t
		return quickLstat(s.roots.RunDir()+"/udev/tags/"+tag+"/", id, &st) == nil
	}
	if id == "" || !slices.ContainsFunc(rec.Tags, func(tag string) bool { return !there(tag) }) {
		return nil
	}
	run, err := os.OpenRoot(s.roots.RunDir())
	if err != nil {
		return err
	}
	defer run.Close()
	var errs []error
	for _, tag := range rec.Tags {
		if !ValidTag(tag) || there(tag) {
			continue
		}
		if err := writeFile(run, "udev/tags/"+tag+"/"+id, nil, 0o444); err != nil {
			errs = append(errs, fmt.Errorf("tag %s: %w", tag, err))
		}
	}
	return errors.Join(errs...)
}

// dropTags removes the files of those old tags that are not among the new ones.
func (s *Store) dropTags(dev *Device, old, kept []string) error {
	var errs []error
	for _, tag := range old {
		if id := dev.ID(); id != "" && ValidTag(tag) && !slices.Contains(kept, tag) {
			run, err := os.OpenRoot(s.roots.RunDir())
			if err != nil {
				return err
			}
			errs = append(errs, removeFile(run, "udev/tags/"+tag+"/"+id))
			run.Close()
		}
	}
	return errors.Join(errs...)
}

// writeRecord keeps the record, or removes it when there is nothing to keep. old is what was read of it before, if it was.
func (s *Store) writeRecord(dev *Device, rec *Record, persist bool, old *Record) error {
	id := dev.ID()
	if id == "" {
		return nil
	}
	name := "udev/data/" + id
	perm := uint32(0o644)
	if persist {
		perm |= unix.S_ISVTX
	}
	none := rec.nothing() && id[0] == '+' // of most devices there is nothing to keep
	if none && old.missing {
		return nil
	}
	text := rec.append(make([]byte, 0, 1024))
	if !none && string(text) == old.text {
		var st unix.Stat_t
		if quickLstat(s.roots.RunDir()+"/", name, &st) == nil && st.Mode == unix.S_IFREG|perm {
			return nil
		}
	}
	run, err := os.OpenRoot(s.roots.RunDir())
	if err != nil {
		return &RecordError{id, err}
	}
	defer run.Close()
	if none {
		return removeFile(run, name)
	}
	if err := writeFile(run, name, text, perm); err != nil {
		return &RecordError{id, err}
	}
	return nil
}

// WriteRecord writes a device's record as it is given, for a program that restores one.
func (s *Store) WriteRecord(dev *Device, rec *Record, persist bool) error {
	return s.writeRecord(dev, rec, persist, &Record{})
}

// Vanished returns the ids in /run/udev/data of which sysfs has no device any more: what was removed while nobody
// listened.
func (s *Store) Vanished() ([]string, error) {
	ids, err := s.roots.run().readDir("/udev/data")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("records: %w", err)
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		if !validID(id) {
			return true
		}
		_, err := s.roots.DeviceByID(id)
		return err == nil
	}), nil
}

// Forget takes away what a device left that is not in sysfs any more: links, tags, record, the node where the kernel does
// not. It returns the record.
func (s *Store) Forget(id string) (*Record, error) {
	rec, err := s.roots.Record(id)
	if err != nil {
		return nil, err
	}
	node := ""
	if num, ok := parseDevnum2(id[1:]); ok && (id[0] == 'b' || id[0] == 'c') {
		if root, err := os.OpenRoot(s.roots.DevDir()); err == nil {
			name := map[byte]string{'b': "block/", 'c': "char/"}[id[0]] + num.String()
			if target, err := root.Readlink(name); err == nil {
				node = strings.TrimPrefix(target, "../")
				_ = root.Remove(name)
				prune(root, name)
			}
			root.Close()
		}
	}
	return rec, s.forget(id, node, rec)
}

// publicProperties are the event's properties as others see them.
func publicProperties(ev *Event, dev *Device, res *Result, rec *Record, renamed string) []Pair {
	all := make([]Pair, 0, len(res.Properties)+9)
	all = append(all, Pair{"UDEV_DATABASE_VERSION", DatabaseVersion})
	set := func(key, value string) { all = setPair(all, key, value) }
	for key, value := range ev.All() {
		if len(res.Properties) == 0 || key == "ACTION" || key == "DEVPATH" || key == "SUBSYSTEM" || key == "SEQNUM" {
			set(key, value)
		}
	}
	for _, p := range res.Properties {
		if !strings.HasPrefix(p.Key, ".") {
			set(p.Key, p.Value)
		}
	}
	if name := dev.Devname(); name != "" {
		set("DEVNAME", "/dev/"+name)
	}
	if renamed != "" {
		set("DEVPATH", dev.Devpath())
		set("INTERFACE", dev.Sysname())
		set("INTERFACE_OLD", renamed)
		set("ID_RENAMING", "1")
	}
	if rec.Initialized > 0 {
		set("USEC_INITIALIZED", strconv.FormatInt(rec.Initialized.Microseconds(), 10))
	}
	if len(rec.Links) > 0 {
		set("DEVLINKS", "/dev/"+strings.Join(rec.Links, " /dev/"))
	}
	if len(rec.Tags) > 0 {
		set("TAGS", ":"+strings.Join(rec.Tags, ":")+":")
	}
	if len(rec.CurrentTags) > 0 {
		set("CURRENT_TAGS", ":"+strings.Join(rec.CurrentTags, ":")+":")
	}
	return all
}

// join makes one error of the device's.
func join(dev *Device, errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("device %s: %w", dev.Devpath(), err)
	}
	return nil
}

// merged is a list without repetition: a, then what b adds.
func merged(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// ValidTag says whether a word can be a tag: ASCII letters, digits, '-' and '_'. Source: systemd, sd-device.c, is_valid_tag.
func ValidTag(tag string) bool {
	for _, c := range []byte(tag) {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return tag != ""
}

// SetBusy makes or removes /run/udev/queue, which is there while events are pending. It fits [QueueOptions.Busy].
func (s *Store) SetBusy(busy bool) {
	run, err := os.OpenRoot(s.roots.RunDir())
	if err != nil {
		return // who cannot keep records has been told by OpenStore
	}
	defer run.Close()
	if !busy {
		_ = run.Remove("udev/queue")
	} else if f, err := run.OpenFile("udev/queue", os.O_CREATE|os.O_WRONLY, 0o444); err == nil {
		f.Close()
	}
}

// NeedsNodes says whether somebody other than the kernel has to make the nodes in /dev: no devtmpfs is mounted there.
func (r Roots) NeedsNodes() (bool, error) {
	if r.DevDir() != "/dev" {
		return false, nil // a stand-in is filled by who made it
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	needs := true
	for line := range strings.Lines(string(text)) { // the last mount counts
		// 25 30 0:6 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=…
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && len(fields) > 4 && fields[4] == "/dev" {
			needs = !strings.HasPrefix(after, "devtmpfs ")
		}
	}
	return needs, nil
}
