package modload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree returns the directory …/lib/modules/<release> that won, or "" when no root holds one: [Config.TreeError] then
// says so. Trees are never merged.
func (c *Config) Tree() string { return c.tree }

// Root returns the root that the tree lies in, as it was configured, or "" when there is no tree.
func (c *Config) Root() string { return c.root }

// Roots returns the roots in the order in which they are searched.
func (c *Config) Roots() []string { return slices.Clone(c.setting("module_root").Values) }

// WantedTree is [Config.Tree], or where the first root would hold one: for messages, and for depmod -n of what is not there yet.
func (c *Config) WantedTree() string {
	if c.tree != "" {
		return c.tree
	}
	root := "/"
	if roots := c.Roots(); len(roots) > 0 {
		root = roots[0]
	}
	return c.TreeBelow(root, "")
}

// TreeBelow is the directory of the release's modules below a root. moduleDir is where trees lie in it; empty: lib/modules.
func (c *Config) TreeBelow(root, moduleDir string) string {
	if moduleDir == "" {
		moduleDir = treeDirs[0]
	}
	return filepath.Join(c.Path(root), moduleDir, c.Release())
}

// findTree looks for the first root that holds a tree for the release.
func (c *Config) findTree() {
	c.tree, c.root = "", ""
	for _, root := range c.Roots() {
		for _, dir := range treeDirs {
			tree := c.TreeBelow(root, dir)
			if info, err := os.Stat(tree); err == nil && info.IsDir() {
				c.tree, c.root = tree, root
				return
			}
		}
	}
}

// treeDirs are where below a root the trees lie.
var treeDirs = []string{"lib/modules", "usr/lib/modules"}

// deriveFirmwarePath takes the firmware from the root that won, unless that is /, where the kernel looks by itself.
func (c *Config) deriveFirmwarePath() {
	s := Setting{}
	if c.root != "" && c.root != "/" {
		dir := filepath.Join(c.root, "lib/firmware")
		if info, err := os.Stat(c.Path(dir)); err == nil && info.IsDir() {
			s = Setting{Value: dir, Origin: Origin{Source: SourceDerived, Detail: "module_root"}}
		}
	}
	c.put("firmware_path", s)
}

// ErrNoTree is the error of whatever needs a tree where no root holds one for the release.
var ErrNoTree = errors.New("no module tree")

// TreeError returns why there is no tree, or nil when there is one. It satisfies errors.Is(err, ErrNoTree).
func (c *Config) TreeError() error {
	if c.tree != "" {
		return nil
	}
	err := fmt.Errorf("%w for %s in %s (%s)", ErrNoTree, c.Release(), strings.Join(c.Roots(), ", "), c.setting("module_root").Origin)
	if others := c.otherReleases(); len(others) > 0 {
		return fmt.Errorf("%w: there is %s", err, strings.Join(others, ", "))
	}
	return err
}

// otherReleases returns the trees there are, as paths that end in their release.
func (c *Config) otherReleases() []string {
	var found []string
	for _, root := range c.Roots() {
		for _, dir := range treeDirs {
			entries, err := os.ReadDir(filepath.Join(c.Path(root), dir))
			if err != nil {
				continue
			}
			for _, e := range entries {
				if info, err := os.Stat(filepath.Join(c.Path(root), dir, e.Name())); err == nil && info.IsDir() {
					found = append(found, filepath.Join(root, dir, e.Name()))
				}
			}
		}
	}
	return found
}
