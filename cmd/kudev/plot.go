package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/cmd/kudev/internal/json"
)

// runPlot draws when which modules were loaded and which devices were handled: from the daemon's journal, or from what
// monitor --decisions --json has written.
func runPlot(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("plot", pflag.ContinueOnError)
	text := flags.Bool("text", false, "draw with characters, not as SVG")
	from := flags.String("from", "", "read the journal from `FILE`, - for the standard input")
	width := flags.Int("width", 0, "so many `COLUMNS` or pixels wide")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	entries, err := e.journal(ctx, *from)
	if err != nil {
		return err
	}
	bars := plotBars(entries)
	if len(bars) == 0 {
		return errors.New("nothing has happened yet")
	}
	if *text {
		if *width <= 0 {
			*width = 100
		}
		return plotText(e.stdout, bars, *width)
	}
	if *width <= 0 {
		*width = 1200
	}
	return plotSVG(e.stdout, bars, *width)
}

// journal reads the daemon's journal, or a file of its lines.
func (e *env) journal(ctx context.Context, from string) ([]*daemon.Entry, error) {
	if from != "" {
		in := e.stdin
		if from != "-" {
			f, err := os.Open(from)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in = f
		}
		var list []*daemon.Entry
		for d := json.NewDecoder(in); ; {
			var entry daemon.Entry
			switch err := d.Read(&entry); {
			case errors.Is(err, io.EOF):
				return list, nil
			case err != nil:
				return nil, fmt.Errorf("%s: entry %d: %w", from, len(list)+1, err)
			}
			list = append(list, &entry)
		}
	}
	cfg, err := e.resolve(nil)
	if err != nil {
		return nil, err
	}
	conn, end, err := e.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := conn.Send(daemon.Request{Do: "journal"}); err != nil {
		return nil, err
	}
	var list []*daemon.Entry
	for {
		r, err := conn.Receive()
		if err != nil || r.Done {
			return list, interruption(ctx, err)
		}
		if r.Entry != nil {
			list = append(list, r.Entry)
		}
	}
}

// bar is one line of the drawing.
type bar struct {
	label      string
	kind       string // module, device or note
	begin, end daemon.Micros
}

// plotBars are the modules, the devices with a node or a name, and the notes, in order of their beginning.
func plotBars(entries []*daemon.Entry) []bar {
	var bars []bar
	seen := map[string]bool{}
	for _, e := range entries {
		if e.Type == "note" {
			bars = append(bars, bar{e.Note, "note", e.Finished, e.Finished})
			continue
		}
		for _, m := range e.Modules {
			key := fmt.Sprint(m.Name, m.Started/1000)
			if m.State != "loaded" || m.Started == 0 || seen[key] {
				continue
			}
			seen[key] = true
			bars = append(bars, bar{m.Name, "module", m.Started, m.Started + m.Took})
		}
		if e.Action == "add" && (e.Devname != "" || e.Subsystem == "net") && !strings.Contains(e.Devpath, "/virtual/") {
			label := e.Devname
			if label == "" {
				label = e.Devpath[strings.LastIndexByte(e.Devpath, '/')+1:]
			}
			bars = append(bars, bar{label, "device", e.Started, e.Finished})
		}
	}
	sort.SliceStable(bars, func(a, b int) bool { return bars[a].begin < bars[b].begin })
	return bars
}

func span(bars []bar) (from, length daemon.Micros) {
	from, to := bars[0].begin, bars[0].end
	for _, b := range bars {
		from, to = min(from, b.begin), max(to, b.end)
	}
	return from, max(1, to-from)
}

func plotText(w io.Writer, bars []bar, width int) error {
	from, length := span(bars)
	columns := max(10, width-40)
	for _, b := range bars {
		left := int(daemon.Micros(columns-1) * (b.begin - from) / length)
		n := max(1, int(daemon.Micros(columns)*(b.end-b.begin)/length))
		mark := map[string]string{"module": "#", "device": "=", "note": "|"}[b.kind]
		label := b.label
		if len(label) > 26 && b.kind != "note" {
			label = label[:26]
		}
		if b.kind == "note" {
			if _, err := fmt.Fprintf(w, "%9.3f  %s| %s\n", float64(b.begin-from)/1e6, strings.Repeat(" ", left), label); err != nil {
				return err
			}
			continue
		}
		n = min(n, columns-left)
		if _, err := fmt.Fprintf(w, "%9.3f  %s%s%s %s %s\n", float64(b.begin-from)/1e6, strings.Repeat(" ", left), strings.Repeat(mark, n),
			strings.Repeat(" ", columns-left-n), label, (b.end - b.begin).Duration()); err != nil {
			return err
		}
	}
	return nil
}

func plotSVG(w io.Writer, bars []bar, width int) error {
	from, length := span(bars)
	const row, top = 16, 30
	x := func(m daemon.Micros) float64 { return 10 + float64(width-320)*float64(m-from)/float64(length) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, top+row*len(bars)+20)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i := range 11 {
		at := from + length*daemon.Micros(i)/10
		fmt.Fprintf(&b, `<line x1="%.1f" y1="20" x2="%.1f" y2="100%%" stroke="#ddd"/><text x="%.1f" y="14" fill="#666">%.2f s</text>`+"\n", x(at), x(at), x(at), float64(at-from)/1e6)
	}
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	colour := map[string]string{"module": "#4878a8", "device": "#58a868", "note": "#c06030"}
	for i, p := range bars {
		y := top + i*row
		wide := max(1.5, x(p.end)-x(p.begin))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s`, x(p.begin), y, wide, row-4, colour[p.kind], x(p.begin)+wide+4, y+row-6, escape.Replace(p.label))
		if p.kind != "note" {
			fmt.Fprintf(&b, ` <tspan fill="#888">%s</tspan>`, p.end.Duration()-p.begin.Duration())
		}
		b.WriteString("</text>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
