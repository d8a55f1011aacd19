package hotplug

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"crypto/sha256"
	"encoding/hex"

	"golang.org/x/sys/unix"
)

// claim is one device's wish for a link.
type claim struct {
	id       string
	priority int
	node     string // below /dev
	since    uint64 // when it was made last
}

// links decides which device a link below /dev points to: of those that claim it the one with the highest priority, of
// several such the one whose event was the latest, as with udev (systemd, src/udev/udev-node.c, link_update). The claims
// stand in memory, and for others to see on disk as udev keeps them: /run/udev/links/NAME/ID is a link that says
// PRIORITY:/dev/NODE, with '/' in NAME written as \x2f.
//
// Shared links have other owners beside this one: each change is under a lock on /run/udev/links, and begins with what
// the disk says by then.
type links struct {
	roots  Roots
	shared bool
	seed   maphash.Seed
	shards [64]linkShard
}

type linkShard struct {
	mu     sync.Mutex
	count  uint64
	claims map[string][]claim // by the link's name
}

func newLinks(roots Roots, shared bool) *links {
	return &links{roots: roots, shared: shared, seed: maphash.MakeSeed()}
}

func (l *links) shard(name string) *linkShard {
	s := &l.shards[maphash.String(l.seed, name)%uint64(len(l.shards))]
	s.mu.Lock()
	if s.claims == nil {
		s.claims = make(map[string][]claim)
	}
	return s
}

// load reads the claims that are on disk. Which was made last is not written there: the link itself says it. A claim of which
// its device's record knows nothing is what somebody left who was killed between the two: it is taken back.
func (l *links) load() error {
	run := l.roots.run()
	names, err := run.readDir("/udev/links")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	var errs []error
	records := make(map[string]*Record) // by id; nil when it cannot be read
	recorded := func(id, name string) bool {
		rec, ok := records[id]
		if !ok {
			var err error
			if rec, err = l.roots.Record(id); errors.Is(err, fs.ErrNotExist) {
				rec = &Record{}
			}
			records[id] = rec
		}
		return rec == nil || slices.Contains(rec.Links, name)
	}
	for _, escaped := range names {
		name, ok := unescapeLink(escaped)
		if !ok {
			continue
		}
		var stale []claim
		s := l.shard(name)
		errs = append(errs, l.read(s, name, escaped))
		for _, c := range s.claims[name] {
			if !recorded(c.id, name) {
				stale = append(stale, c)
			}
		}
		s.mu.Unlock()
		for _, c := range stale {
			errs = append(errs, l.drop(name, c.id, c.node))
		}
	}
	return errors.Join(errs...)
}

// read reads the claims of one link from the disk.
func (l *links) read(s *linkShard, name, escaped string) error {
	run := l.roots.run()
	ids, err := run.readDir("/udev/links/" + escaped)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("links: %w", err)
	}
	owner, _ := os.Readlink(l.roots.DevDir() + "/" + name)
	delete(s.claims, name)
	for _, id := range ids {
		text, err := run.readlink("/udev/links/" + escaped + "/" + id)
		if err != nil || !validID(id) {
			continue
		}
		prio, node, ok := strings.Cut(text, ":")
		priority, err := strconv.Atoi(prio)
		if !ok || err != nil {
			continue
		}
		s.count++
		c := claim{id, priority, strings.TrimPrefix(node, "/dev/"), 0}
		if owner == relative(name, c.node) {
			c.since = s.count
		}
		s.claims[name] = append(s.claims[name], c)
	}
	return nil
}

// lock takes the lock on shared links, and reads the claims of this one again.
func (l *links) lock(s *linkShard, name string) (unlock func(), err error) {
	if !l.shared {
		return func() {}, nil
	}
	dir := l.roots.RunDir() + "/udev/links"
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("link %s: lock %s: %w", name, dir, err)
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(fd, unix.LOCK_EX)
	}
	if err == nil {
		err = l.read(s, name, escapeLink(name))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("link %s: lock %s: %w", name, dir, err)
	}
	return func() { unix.Close(fd) }, nil
}

// set makes or renews a device's claim of a link, and points the link to where it now belongs. It tells who has the link.
func (l *links) set(name string, c claim) (owner string, err error) {
	if !validLink(name) {
		return "", fmt.Errorf("link %q: is no name below /dev", name)
	}
	s := l.shard(name)
	defer s.mu.Unlock()
	unlock, err := l.lock(s, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	all := s.claims[name]
	s.count++
	c.since = s.count
	if i := slices.IndexFunc(all, func(have claim) bool { return have.id == c.id }); i >= 0 {
		all[i] = c
	} else {
		all = append(all, c)
	}
	s.claims[name] = all
	winner := best(all)
	return winner.id, errors.Join(l.record(name, c), l.point(name, winner))
}

// drop takes a device's claim back. The link goes to who claims it next, or goes away.
func (l *links) drop(name, id, node string) error {
	if !validLink(name) {
		return nil
	}
	s := l.shard(name)
	defer s.mu.Unlock()
	unlock, err := l.lock(s, name)
	if err != nil {
		return err
	}
	defer unlock()
	all := slices.DeleteFunc(s.claims[name], func(have claim) bool { return have.id == id })
	err = l.unrecord(name, id)
	if len(all) == 0 {
		delete(s.claims, name)
		return errors.Join(err, l.unpoint(name, node))
	}
	s.claims[name] = all
	if pointed := l.point(name, best(all)); !errors.Is(pointed, errTaken) { // what was not made is not made now
		err = errors.Join(err, pointed)
	}
	return err
}

// owner returns the id of the device that has the link.
func (l *links) owner(name string) string {
	s := l.shard(name)
	defer s.mu.Unlock()
	if all := s.claims[name]; len(all) > 0 {
		return best(all).id
	}
	return ""
}

func best(all []claim) claim {
	return slices.MaxFunc(all, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.since, b.since))
	})
}

// record keeps a claim on disk.
func (l *links) record(name string, c claim) error {
	at, target := "udev/links/"+escapeLink(name)+"/"+c.id, strconv.Itoa(c.priority)+":/dev/"+c.node
	if says(l.roots.RunDir()+"/"+at, target) {
		return nil
	}
	run, err := os.OpenRoot(l.roots.RunDir())
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	defer run.Close()
	if err := writeLink(run, at, target); err != nil {
		return fmt.Errorf("link %s: keep its priority: %w", name, err)
	}
	return nil
}

func (l *links) unrecord(name, id string) error {
	run, err := os.OpenRoot(l.roots.RunDir())
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	defer run.Close()
	dir := "udev/links/" + escapeLink(name)
	if err := removeFile(run, dir+"/"+id); err != nil {
		return fmt.Errorf("link %s: forget its priority: %w", name, err)
	}
	_ = run.Remove(dir) // only when it is empty
	return nil
}

// errTaken is why a link is not made where a node or another thing has its name.
var errTaken = errors.New("something that is no link has the name")

// point makes the link lead to the winner's node.
func (l *links) point(name string, winner claim) error {
	if says(l.roots.DevDir()+"/"+name, relative(name, winner.node)) {
		return nil
	}
	root, err := os.OpenRoot(l.roots.DevDir())
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	defer root.Close()
	if info, err := root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return errTaken
	}
	if err := writeLink(root, name, relative(name, winner.node)); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

// unpoint removes a link that nobody claims any more, unless it leads to something else by now.
func (l *links) unpoint(name, node string) error {
	root, err := os.OpenRoot(l.roots.DevDir())
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	defer root.Close()
	target, err := root.Readlink(name)
	if err != nil { // not there, or no link: nothing of ours
		return nil
	}
	if node != "" && target != relative(name, node) && !strings.HasSuffix(target, "/"+node) && target != node {
		return nil
	}
	if err := removeFile(root, name); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	prune(root, name)
	return nil
}

// relative is what a link has to say, both names being below /dev: the shortest way, as udev writes it.
func relative(link, node string) string {
	for {
		dir, rest, ok := strings.Cut(link, "/")
		if !ok || !strings.HasPrefix(node, dir+"/") {
			return strings.Repeat("../", strings.Count(link, "/")) + node
		}
		link, node = rest, node[len(dir)+1:]
	}
}

// validLink says whether a name can be a link, or a node, below /dev. One with a line break would forge lines of the record.
func validLink(name string) bool {
	return name != "" && name == path.Clean(name) && name[0] != '/' && name != "." && name != ".." && !strings.HasPrefix(name, "../") &&
		strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0
}

// escapeLink writes a link's name as a file name.
func escapeLink(name string) string {
	b := make([]byte, 0, len(name)+16)
	for _, c := range []byte(name) {
		switch c {
		case '\\':
			b = append(b, `\x5c`...)
		case '/':
			b = append(b, `\x2f`...)
		default:
			b = append(b, c)
		}
	}
	escaped := string(b)
	if len(escaped) > 255 { // it is never read back: the records name the link
		sum := sha256.Sum256([]byte(name))
		escaped = escaped[:200] + "#" + hex.EncodeToString(sum[:8])
	}
	return escaped
}

func unescapeLink(escaped string) (string, bool) {
	name := strings.NewReplacer(`\x2f`, "/", `\x5c`, `\`).Replace(escaped)
	shortened := len(escaped) == 217 && escaped[200] == '#'
	return name, !shortened && validLink(name)
}
