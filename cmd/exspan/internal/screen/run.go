package screen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/exspan/exspan/exporter/recent"
)

// Options say where the state comes from.
type Options struct {
	Interval time.Duration
	// Take returns the state now. An error ends the program; that of a sensor is
	// in the state.
	Take func(context.Context) (State, error)
	// Flows returns the last flows of a path.
	Flows func(ctx context.Context, label string) ([]recent.Flow, error)
}

// Run shows the state on a terminal until the operator quits or ctx ends.
func Run(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	m := &model{ctx: ctx, o: o, view: view{width: 80, height: 24, color: true, keys: true}}
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler(), tea.WithFPS(30)).Run()
	if errors.Is(err, tea.ErrProgramKilled) || errors.Is(err, tea.ErrInterrupted) {
		err = nil // by the end of ctx, or a key
	}
	return errors.Join(err, m.err)
}

// Print writes one picture after the other, for what is no terminal or a dumb one,
// until ctx ends; if once, it writes one.
func Print(ctx context.Context, out io.Writer, width int, once bool, o Options) error {
	if _, err := o.Take(ctx); err != nil { // rates are over an interval
		return err
	}
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s, err := o.Take(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		v := view{state: s, width: width}
		if _, err := fmt.Fprintln(out, strings.Join(v.lines(), "\n")+"\n"); err != nil || once {
			return err
		}
	}
}

// model is the state of the program on a terminal, as bubbletea wants it.
type model struct {
	view
	ctx   context.Context
	o     Options
	taken bool // the first state has come
	err   error
}

type (
	tickMsg  struct{}
	stateMsg struct {
		state State
		err   error
	}
	flowsMsg struct {
		label string
		flows []recent.Flow
		err   error
	}
)

// Init takes the first state.
func (m *model) Init() tea.Cmd { return m.take }

func (m *model) take() tea.Msg {
	s, err := m.o.Take(m.ctx)
	return stateMsg{s, err}
}

// fetch reads the flows of the path that is shown.
func (m *model) fetch() tea.Cmd {
	label := m.path
	if label == "" {
		return nil
	}
	return func() tea.Msg {
		flows, err := m.o.Flows(m.ctx, label)
		return flowsMsg{label, flows, err}
	}
}

// Update takes in a message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, 20), max(msg.Height, 5)
	case tickMsg:
		if m.paused {
			return m, m.tick(m.o.Interval)
		}
		return m, tea.Batch(m.take, m.fetch())
	case stateMsg:
		if msg.err != nil {
			m.err = msg.err
			return m, tea.Quit
		}
		if !m.paused {
			m.state = msg.state
		}
		wait := m.o.Interval
		if !m.taken { // rates come with the second one
			m.taken, wait = true, min(wait, time.Second)
		}
		return m, m.tick(wait)
	case flowsMsg:
		if msg.label == m.path {
			m.flows, m.flowsErr = msg.flows, msg.err
		}
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

func (m *model) tick(d time.Duration) tea.Cmd {
	return tea.Tick(d, func(time.Time) tea.Msg { return tickMsg{} })
}

// View draws.
func (m *model) View() tea.View {
	lines := m.lines()
	if !m.taken {
		lines = []string{"exspan top: asking ..."}
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// key takes in a key.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	if m.typing {
		m.typeFilter(name, k.Text)
		return nil
	}
	if m.help {
		m.help = false
		return nil
	}
	switch name {
	case "q":
		return tea.Quit
	case "?", "h", "f1":
		m.help = true
	case "p", "space":
		m.paused = !m.paused
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-m.height / 2)
	case "pgdown":
		m.move(m.height / 2)
	case "home", "g":
		m.move(-1 << 30)
	case "end", "G":
		m.move(1 << 30)
	case "esc", "backspace", "left":
		if m.path == "" {
			m.filter = ""
		}
		m.path = ""
	default:
		if m.path == "" {
			return m.listKey(name)
		}
	}
	return nil
}

// listKey takes in a key that the list of paths has alone.
func (m *model) listKey(name string) tea.Cmd {
	switch name {
	case "s", ">":
		m.sort = (m.sort + 1) % len(sortKeys)
	case "S", "<":
		m.sort = (m.sort + len(sortKeys) - 1) % len(sortKeys)
	case "/":
		m.typing, m.filter = true, ""
	case "enter", "right":
		if rows := m.rows(); len(rows) > 0 {
			i := max(slices.IndexFunc(rows, func(r Row) bool { return r.Label == m.selected }), 0)
			m.path, m.selected = rows[i].Label, rows[i].Label
			m.flows, m.flowsErr, m.flow = nil, nil, ""
			return m.fetch()
		}
	}
	return nil
}

// typeFilter takes in a key while the filter is being typed.
func (m *model) typeFilter(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		m.filter += text
	}
}

// move chooses the path or the flow that is n lines below.
func (m *model) move(n int) {
	if m.path != "" {
		if len(m.flows) > 0 {
			i := slices.IndexFunc(m.flows, func(f recent.Flow) bool { return f.CommunityID == m.flow })
			m.flow = m.flows[min(max(max(i, 0)+n, 0), len(m.flows)-1)].CommunityID
		}
		return
	}
	if rows := m.rows(); len(rows) > 0 {
		i := slices.IndexFunc(rows, func(r Row) bool { return r.Label == m.selected })
		m.selected = rows[min(max(max(i, 0)+n, 0), len(rows)-1)].Label
	}
}
