package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
)

// Result is one figure.
type Result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Aim is the bound, and Met says whether Value keeps it; both are null when there is none. AtMost: the bound is
	// an upper one.
	Aim    *float64 `json:"aim"`
	Met    *bool    `json:"met"`
	AtMost bool     `json:"at_most,omitempty"`
	// Min and Max are those of all Pairs, of which Value is the median.
	Min   *float64 `json:"min,omitempty"`
	Max   *float64 `json:"max,omitempty"`
	Pairs int      `json:"pairs,omitempty"`
	// Raw is the ceiling that was measured in the same run, in the same unit.
	Raw  *float64 `json:"raw,omitempty"`
	Note string   `json:"note,omitempty"`
	// Skipped says why nothing was measured: a program is not there. Value is 0 then.
	Skipped string `json:"skipped,omitempty"`
}

func (r *Result) judge(a Aim) {
	met := a.met(r.Value)
	r.Aim, r.Met, r.AtMost = &a.Value, &met, a.AtMost
}

// finite says that all its figures are numbers: what is not can't be compared, nor written as JSON.
func (r *Result) finite() bool {
	for _, v := range []*float64{&r.Value, r.Min, r.Max, r.Raw} {
		if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			return false
		}
	}
	return true
}

// against sets the ceiling.
func (r Result) against(raw float64) Result {
	r.Raw = &raw
	return r
}

// overPairs makes a result of one value for each pair.
func overPairs(name, unit string, values []float64, note string) Result {
	lo, mid, hi := spread(values)
	return Result{Name: name, Value: mid, Unit: unit, Min: &lo, Max: &hi, Pairs: len(values), Note: note}
}

func writeJSON(path string, results []Result) error {
	if results == nil {
		results = []Result{}
	}
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

func printTable(w io.Writer, results []Result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nwhat\tvalue\tunit\tmin\tmax\traw\tof raw\taim\tmet\t")
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(t, "%s\tskipped\t\t\t\t\t\t\t\t\n", r.Name)
			continue
		}
		ofRaw := ""
		if r.Raw != nil && *r.Raw != 0 {
			ofRaw = figure(&[]float64{r.Value / *r.Raw}[0])
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Name, figure(&r.Value), r.Unit,
			figure(r.Min), figure(r.Max), figure(r.Raw), ofRaw, r.aimText(), r.metText())
	}
	_ = t.Flush() // what can't be printed is in the file
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(w, "%s: SKIPPED: %s\n", r.Name, r.Skipped)
		}
		if r.Note != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Name, r.Note)
		}
	}
}

func (r *Result) aimText() string {
	switch {
	case r.Aim == nil:
		return ""
	case r.AtMost:
		return "<= " + figure(r.Aim)
	}
	return ">= " + figure(r.Aim)
}

func (r *Result) metText() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "yes"
	}
	return "NO"
}

// figure prints three digits that count.
func figure(v *float64) string {
	if v == nil {
		return ""
	}
	digits := 0
	if a := math.Abs(*v); a > 0 && a < 100 {
		digits = min(2-int(math.Floor(math.Log10(a))), 6)
	}
	return strconv.FormatFloat(*v, 'f', digits, 64)
}
