package injectors

// nobody is a user whom no rule names.
const nobody int64 = -2

// TakesPort tells whether the redirect takes what the app sends to the port, wherever that goes.
func (c *Capture) TakesPort(port uint16) Tri {
	passes := c.passes(nobody, NoID)
	switch {
	case passes == Yes, portIn(c.ExcludePorts, port):
		return No
	case passes == Unknown:
		return Unknown
	case !c.Listed || portIn(c.IncludePorts, port):
		return Yes
	case len(c.Include) > 0:
		return Unknown
	}
	return No
}
