#pragma once

struct a;
