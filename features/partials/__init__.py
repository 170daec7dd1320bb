"""States of single files of the event log, kept beside it by day: nobody need read all events again."""
