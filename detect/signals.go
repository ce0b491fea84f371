package detect

import (
	"slices"
	"strings"
)

// The variables that choose.
const (
	varType        = "SECRET_MANAGER_TYPE"
	varPath        = "SECRET_MANAGER_PATH"
	varPrefix      = "SECRET_MANAGER_PREFIX"
	varVault       = "VAULT_ADDR"
	varVaultAgent  = "VAULT_AGENT_ADDR"
	varVaultToken  = "VAULT_TOKEN"
	varVaultFile   = "VAULT_TOKEN_FILE"
	varAWSPrefix   = "AWS_SECRET_PREFIX"
	varRegion      = "AWS_REGION"
	varRegionElse  = "AWS_DEFAULT_REGION"
	varCredentials = "CREDENTIALS_DIRECTORY"
)

// The providers of this package.
const (
	provEnv   = "env"
	provFile  = "file"
	provVault = "vault"
	provAWS   = "aws"

	auto = "auto" // the value of SECRET_MANAGER_TYPE that leaves it to the other variables
)

func builtin() []string { return []string{provEnv, provFile, provVault, provAWS} }

// chosenType returns what SECRET_MANAGER_TYPE says, or "" if it leaves the choice to the other variables.
func (c *config) chosenType() (name string, isAuto bool) {
	switch name = strings.ToLower(strings.TrimSpace(c.get(varType))); name {
	case auto:
		return "", true
	default:
		return name, false
	}
}

// signals returns all that point to a provider, in the order in which they count. The first that is of any strength decides.
func (c *config) signals(directory Signal) []Signal {
	all := c.typeSignals()
	for _, s := range []Signal{
		{Name: varVaultAgent, Provider: provVault, Strength: Medium},
		{Name: varVault, Provider: provVault, Strength: Medium},
		{Name: varAWSPrefix, Provider: provAWS, Strength: Strong},
		{Name: varPath, Provider: provFile, Strength: Strong},
		{Name: varPrefix, Provider: provEnv, Strength: Strong},
	} {
		if c.get(s.Name) != "" {
			all = append(all, s)
		}
	}
	regions, credentials := c.regionSignals(), c.credentials()
	if len(regions) > 0 && len(credentials) > 0 {
		all = append(all, regions...)
		for _, name := range credentials {
			all = append(all, Signal{Name: name, Provider: provAWS, Strength: Weak})
		}
	}
	if directory.Name != "" {
		all = append(all, directory)
	}
	if len(credentials) == 0 {
		all = append(all, regions...)
	}
	return append(all, c.partial()...)
}

func (c *config) typeSignals() []Signal {
	switch name, isAuto := c.chosenType(); {
	case isAuto:
		return []Signal{{Name: varType, Note: "auto leaves the choice to the other signals"}}
	case name != "":
		return []Signal{{Name: varType, Provider: name, Strength: Explicit}}
	default:
		return nil
	}
}

func (c *config) regionSignals() []Signal {
	var signals []Signal
	for _, name := range []string{varRegion, varRegionElse} {
		if c.get(name) != "" {
			signals = append(signals, Signal{Name: name, Provider: provAWS, Strength: Weak})
		}
	}
	return signals
}

// partial returns what was seen and points nowhere by itself.
func (c *config) partial() []Signal {
	var signals []Signal
	if c.region() == "" {
		for _, name := range c.credentials() {
			signals = append(signals, Signal{Name: name, Provider: provAWS, Note: "points nowhere without " + varRegion})
		}
	}
	if c.get(varVault) == "" && c.get(varVaultAgent) == "" {
		for _, name := range []string{varVaultToken, varVaultFile} {
			if c.get(name) != "" {
				signals = append(signals, Signal{Name: name, Provider: provVault, Note: "points nowhere without " + varVault})
			}
		}
	}
	return signals
}

// region returns the region that the variables name, as the SDK takes it, or "".
func (c *config) region() string {
	if region := c.get(varRegion); region != "" {
		return region
	}
	return c.get(varRegionElse)
}

// credentials returns the names of the variables that show where credentials of AWS come from.
func (c *config) credentials() []string {
	const keyID, secretKey = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY" //nolint:gosec // names
	var names []string
	if c.get(keyID) != "" && c.get(secretKey) != "" {
		names = append(names, keyID+" and "+secretKey)
	}
	for _, name := range []string{
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_PROFILE",
	} {
		if c.get(name) != "" {
			names = append(names, name)
		}
	}
	return names
}

// decide fills in d what the signals say: the provider, and why no other. place is the directory that was looked at, in words.
func (c *config) decide(signals []Signal, place string, s sight) Detection {
	d := Detection{Signals: signals, Provider: provEnv, Reason: "nothing points to a provider, and this is the default"}
	var decider string // the name of the signal that decides, or ""
	if i := slices.IndexFunc(signals, func(s Signal) bool { return s.Strength > None }); i >= 0 {
		decider = signals[i].Name
		d.Provider, d.Strength, d.Reason = signals[i].Provider, signals[i].Strength, c.reason(signals[i], place)
	}
	if !slices.Contains(c.known(), d.Provider) {
		d.Provider, d.Reason = "", varType+" names no provider that is known"
	}
	for i := range d.Signals {
		signal := &d.Signals[i]
		signal.Used = d.Provider != "" && signal.Provider == d.Provider
		switch {
		case signal.Note != "":
		case signal.Name == decider && d.Provider == "":
			signal.Provider, signal.Note = "", "names no provider that is known"
		case signal.Name == decider:
			signal.Note = "decides"
		case signal.Used:
			signal.Note = "agrees"
		default:
			signal.Note = decider + " comes first"
		}
	}
	for _, provider := range c.known() {
		if provider != d.Provider {
			d.Others = append(d.Others, Other{Provider: provider, Reason: c.whyNot(provider, d, decider, place+" "+s.what)})
		}
	}
	return d
}

// undecided is the Detection where no provider can be chosen.
func (c *config) undecided(signals []Signal, reason string) Detection {
	d := Detection{Signals: signals, Reason: reason}
	for i := range signals {
		signals[i].Used = false
	}
	for _, provider := range c.known() {
		d.Others = append(d.Others, Other{Provider: provider, Reason: reason})
	}
	return d
}

// reason says in words that s decides.
func (c *config) reason(s Signal, place string) string {
	switch {
	case s.Strength == Explicit:
		return varType + " says " + s.Provider
	case s.Provider == provFile && s.Strength == Weak:
		return place + " holds a file"
	case s.Provider == provAWS && s.Strength == Weak:
		if credentials := c.credentials(); len(credentials) > 0 {
			return s.Name + " is set, with " + credentials[0]
		}
		return s.Name + " is set, and nothing stronger points elsewhere"
	default:
		return s.Name + " is set"
	}
}

// whyNot says why provider was not chosen.
func (c *config) whyNot(provider string, d Detection, decider, directory string) string {
	var points string // the name of the first signal that points to it
	if i := slices.IndexFunc(d.Signals, func(s Signal) bool { return s.Provider == provider && s.Strength > None }); i >= 0 {
		points = d.Signals[i].Name
	}
	switch {
	case d.Provider == "":
		return varType + " does not name it"
	case d.Strength == Explicit && points == "":
		return d.Reason
	case d.Strength == Explicit:
		return d.Reason + ", which comes before " + points
	case points != "":
		return decider + " comes before " + points
	}
	switch provider {
	case provEnv:
		return varPrefix + " is not set, and the default gives way to " + decider
	case provFile:
		return varPath + " is not set, and " + directory
	case provVault:
		return "neither " + varVault + " nor " + varVaultAgent + " is set"
	case provAWS:
		return "none of " + varAWSPrefix + ", " + varRegion + " and " + varRegionElse + " is set"
	default:
		return varType + " does not name it"
	}
}

// rivals returns the signals of other providers that are as strong as what decided, or stronger.
func (d Detection) rivals() []Signal {
	if d.Strength == Explicit {
		return nil
	}
	return slices.DeleteFunc(d.Ignored(), func(s Signal) bool { return s.Strength < d.Strength })
}
