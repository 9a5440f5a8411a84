struct ctl;
