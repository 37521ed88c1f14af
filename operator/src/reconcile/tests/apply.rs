//! The applier against an apiserver that answers as it is told and notes what it is asked.
