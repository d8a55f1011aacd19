package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
)

// treeGlyphs are what a tree is drawn with.
type treeGlyphs struct{ branch, last, vertical, space, record string }

func newTreeGlyphs() treeGlyphs {
	locale := strings.ToLower(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"), "utf-8"))
	if strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8") {
		return treeGlyphs{"├─", "└─", "│ ", "  ", "┆ "}
	}
	return treeGlyphs{"|-", "`-", "| ", "  ", ": "}
}

// infoTree prints the records of a device and of all below it, or of all devices, each below the one that it is part of.
func (e *env) infoTree(ctx context.Context, below string) error {
	items, err := coldplug.Walk(ctx, e.roots, coldplug.All)
	if err != nil {
		return err
	}
	var paths []string
	for _, item := range items {
		if below == "" || strings.HasPrefix(item.Devpath+"/", below+"/") {
			paths = append(paths, item.Devpath+"/")
		}
	}
	if below != "" {
		paths = append(paths, below+"/")
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	w := bufio.NewWriter(e.stdout)
	e.drawTree(w, newTreeGlyphs(), paths, "", "")
	fmt.Fprintf(w, "\n%d items shown.\n", len(paths))
	return w.Flush()
}

// drawTree draws the paths, which are sorted and end in slashes, below parent.
func (e *env) drawTree(w io.Writer, g treeGlyphs, paths []string, parent, prefix string) {
	for len(paths) > 0 {
		top, n := paths[0], 1
		for n < len(paths) && strings.HasPrefix(paths[n], top) {
			n++
		}
		glyph, deeper := g.last, g.space
		if n < len(paths) {
			glyph, deeper = g.branch, g.vertical
		}
		fmt.Fprintf(w, "%s%s%s\n", prefix, glyph, strings.TrimSuffix(strings.TrimPrefix(top, parent), "/"))
		if dev, err := e.roots.Device(top); err == nil {
			rec, err := dev.Record()
			if err != nil {
				rec = &hotplug.Record{}
			}
			for line := range strings.Lines(deviceRecord(dev, rec)) {
				io.WriteString(w, prefix+deeper+g.record+line)
			}
		}
		e.drawTree(w, g, paths[1:n], top, prefix+deeper)
		paths = paths[n:]
	}
}
