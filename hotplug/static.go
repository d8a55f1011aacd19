package hotplug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// StaticNode is a node that is there before its driver: opening it makes the kernel ask for the module.
type StaticNode struct {
	Module string
	Name   string // below /dev
	Num    Devnum
	Block  bool
}

// ParseStaticNodes reads the text of a modules.devname. A line that it does not understand is in the error, and the rest
// counts.
// Format: kmod, depmod.c: "MODULE NAME cMAJ:MIN", '#' begins a comment.
func ParseStaticNodes(text string) ([]StaticNode, error) {
	var nodes []StaticNode
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if len(fields) != 3 || !validLink(fields[1]) || len(fields[2]) < 4 || fields[2][0] != 'c' && fields[2][0] != 'b' {
			errs = append(errs, fmt.Errorf("line %d is no MODULE NAME cMAJ:MIN: %q", n, strings.TrimSpace(line)))
			continue
		}
		num, ok := parseDevnum2(fields[2][1:])
		if !ok {
			errs = append(errs, fmt.Errorf("line %d: %q is no device number", n, fields[2]))
			continue
		}
		nodes = append(nodes, StaticNode{fields[0], fields[1], num, fields[2][0] == 'b'})
	}
	return nodes, errors.Join(errs...)
}

// MakeStaticNodes makes the nodes that are not there, for root alone (0600): rules say who else may open them, see
// ApplyStaticNode. It needs CAP_MKNOD.
func (r Roots) MakeStaticNodes(nodes []StaticNode) error {
	var errs []error
	for _, n := range nodes {
		if err := r.makeNode(n.Name, n.Num, n.Block, nodeWant{uid: -1, gid: -1, mode: 0o600}); err != nil {
			errs = append(errs, fmt.Errorf("static node %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// ApplyStaticNode gives a node that is there before its driver the owner, group and mode of a rule with
// OPTIONS+="static_node=NAME", as far as it names them (a group without a mode means 0660), and keeps its tags below
// /run/udev/static_node-tags. That there is no such node is no error.
func (r Roots) ApplyStaticNode(name string, res NodeResult, tags []string) error {
	fd, err := openNode(r.DevDir(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("static node %s: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("static node %s: %w", name, err)
	}
	standIn := r.DevDir() != "/dev" && st.Mode&unix.S_IFMT == unix.S_IFREG
	if _, _, isNode := nodeDevnum(&st); !isNode && !standIn {
		return nil
	}
	var errs []error
	errs = append(errs, res.over(nodeWant{uid: -1, gid: -1, mode: -1}).apply(fd, &st, false))
	if len(tags) > 0 {
		run, err := os.OpenRoot(r.RunDir())
		if err != nil {
			return fmt.Errorf("static node %s: %w", name, errors.Join(append(errs, err)...))
		}
		defer run.Close()
		escaped := strings.NewReplacer(`\`, `\x5c`, "/", `\x2f`, ".", `\x2e`).Replace(name)
		for _, tag := range tags {
			if !ValidTag(tag) {
				errs = append(errs, fmt.Errorf("tag %q: is no name", tag))
				continue
			}
			errs = append(errs, writeLink(run, "udev/static_node-tags/"+tag+"/"+escaped, "/dev/"+name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("static node %s: %w", name, err)
	}
	return nil
}

// MakeStandardLinks makes what programs expect in /dev and no device has: fd, stdin, stdout, stderr and core. What is
// there already stays.
func (r Roots) MakeStandardLinks() error {
	root, err := os.OpenRoot(r.DevDir())
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	for _, link := range [...][2]string{
		{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},
	} {
		if _, err := root.Lstat(link[0]); err == nil {
			continue
		}
		if link[0] == "core" {
			if _, err := os.Stat(link[1]); err != nil {
				continue // a kernel without it
			}
		}
		if err := writeLink(root, link[0], link[1]); err != nil {
			errs = append(errs, fmt.Errorf("link %s: %w", path.Join("/dev", link[0]), err))
		}
	}
	return errors.Join(errs...)
}
